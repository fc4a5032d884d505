"""A firm that is charged, and a look into schema cp_ops."""

from __future__ import annotations

import pytest

from tests.integration.finance.charges.charge_world import Charging


@pytest.fixture
def charging(app_db, stripe, world):
    return Charging(app_db.cp_ops_dsn, stripe, world, world.now)


@pytest.fixture
def ours(runner):
    """A connection of the jobs' role, which sees schema cp_ops."""
    connection = runner.connect()
    yield connection
    connection.close()
