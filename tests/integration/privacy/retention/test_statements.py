"""The templates of execute_retention_policies, filled for every table that a policy covers."""

from __future__ import annotations

import pytest

from cp_ops.privacy.catalogue import read_catalogue
from cp_ops.privacy.retention.covered_tables import COVERED_TABLES
from cp_ops.privacy.retention.deletion import deletions
from cp_ops.privacy.retention.rows import filled, lock_statement
from cp_ops.runtime.database import Transaction
from cp_ops.runtime.outcome import Outcome
from tests.integration.privacy.prepared import prepare

COVERED = {covered.name: covered for tables in COVERED_TABLES.values() for covered in tables}


@pytest.fixture
def connection(runner):
    with runner.connect() as connection:
        yield connection


@pytest.fixture
def tx(connection):
    return Transaction(connection, "privacy/retention", Outcome("test", dry_run=True))


@pytest.mark.parametrize("name", COVERED)
def test_every_statement_about_a_covered_table_fits_the_schema(connection, tx, name):
    covered, catalogue = COVERED[name], read_catalogue(tx)
    tx.execute("create_retention_due")
    for address in (
        "privacy/retention/survey",
        "privacy/retention/collect_due",
        "privacy/retention/still_due",
    ):
        prepare(connection, filled(address, covered))
    prepare(connection, lock_statement(covered, catalogue).query)
    for deletion in deletions(covered, catalogue):
        prepare(connection, deletion.query)
