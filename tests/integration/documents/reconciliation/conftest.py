"""The job over a real S3 server, and a firm's documents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from cp_ops.documents.reconciliation.job import ReconcileS3
from cp_ops.runtime.field_encryption import FieldEncryption
from sandbox.world.encryption import SANDBOX_DEFAULT_KEY_ID, SANDBOX_MASTER_KEY
from tests.integration.documents.reconciliation.documents_world import (
    CountingKms,
    Files,
    Store,
)


@pytest.fixture
def encryption():
    return FieldEncryption(CountingKms(SANDBOX_MASTER_KEY), SANDBOX_DEFAULT_KEY_ID)


@pytest.fixture
def job(s3, encryption):
    return lambda **kwargs: ReconcileS3(Store(s3.client, **kwargs), encryption)


@pytest.fixture
def runner(runner):
    """Objects of a test are as young as the test: no grace unless the test says so."""
    return runner.with_settings(s3_orphan_grace_hours=0)


@pytest.fixture
def records(app_db):
    """A connection of the jobs' own role, which sees schema cp_ops and every firm."""
    with psycopg.connect(app_db.cp_ops_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def later(runner):
    """A clock ahead of the objects, which S3 dates by whole seconds."""
    runner.now = datetime.now(UTC) + timedelta(minutes=1)
    return runner


@pytest.fixture
def files(world, s3):
    return Files(world.firm(), s3)
