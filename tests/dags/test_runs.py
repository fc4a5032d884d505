"""Every DAG through `dag.test()`: dry, real, twice, with nothing to do, with a wrong option."""

from __future__ import annotations

import psycopg
import pytest

from tests.dags.conftest import load_dags
from tests.dags.documented import COMMANDS, SYSTEM

DOCUMENTED = COMMANDS | SYSTEM
COMMON = sorted(name for name in load_dags() if "dry_run" in DOCUMENTED[name].options)
JOBS = [name for name in COMMON if not DOCUMENTED[name].about]
OWN_RECORD = {"cp_ops.job_run"}
"""What a run writes whatever it finds: its outcome."""


@pytest.fixture
def rows_written(app_db):
    """Rows written per table so far, from the database's own counters."""

    def count() -> dict[str, int]:
        with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_stat_force_next_flush()")
            found = connection.execute(
                "SELECT schemaname || '.' || relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables"
                " WHERE schemaname IN ('public', 'cp_ops')"
            )
            return dict(found.fetchall())

    return count


def changed(before, after):
    return {table for table, rows in after.items() if rows != before.get(table, 0)}


@pytest.mark.parametrize("dag_id", JOBS)
def test_dry_then_real_then_again(dag_id, run_dag, demo_world, rows_written):
    """The dry run writes nothing and plans what the real run does; the second real run has nothing left to do."""
    start = rows_written()
    required = DOCUMENTED[dag_id].required
    dry = run_dag(dag_id, **required, dry_run=True)
    after_dry = rows_written()
    real = run_dag(dag_id, **required)
    after_real = rows_written()
    again = run_dag(dag_id, **required)
    after_again = rows_written()

    assert (dry.state, real.state, again.state) == ("success",) * 3
    assert changed(start, after_dry) == OWN_RECORD
    assert changed(after_real, after_again) - DOCUMENTED[dag_id].every_run_writes == OWN_RECORD
    for task, outcome in real.outcomes.items():
        assert dry.outcomes[task]["plan"] == outcome["plan"]
        assert dry.outcomes[task]["done"] == 0
        assert outcome["failed"] == 0
    if dag_id in COMMANDS:
        assert changed(after_dry, after_real) > OWN_RECORD, "the demo has something for every command to find"


@pytest.mark.parametrize("dag_id", [name for name in JOBS if not DOCUMENTED[name].creates])
def test_nothing_to_do(dag_id, run_dag, rows_written):
    every_run_writes = DOCUMENTED[dag_id].every_run_writes
    before = rows_written()
    ran = run_dag(dag_id)
    assert ran.state == "success"
    assert changed(before, rows_written()) - every_run_writes == OWN_RECORD
    # What each run writes it also plans, in an empty database, too; retention has no policy there.
    assert every_run_writes or all(outcome["planned"] == 0 for outcome in ran.outcomes.values())


@pytest.mark.parametrize("dag_id", COMMON)
def test_an_unknown_option_stops_before_anything_is_read(dag_id, run_dag, rows_written):
    """A mistyped firm_id must not become a run for every firm."""
    before = rows_written()
    ran = run_dag(dag_id, **DOCUMENTED[dag_id].required, frim_id=1)
    assert ran.state == "failed"
    assert changed(before, rows_written()) == set()


@pytest.mark.parametrize(
    "dag_id", sorted(name for name in JOBS if "firm_id" in COMMANDS.get(name, SYSTEM.get(name)).options)
)
@pytest.mark.parametrize("firm", [3, 99])
def test_a_firm_that_is_suspended_or_unknown_is_refused(dag_id, firm, run_dag, demo_world, rows_written):
    before = rows_written()
    ran = run_dag(dag_id, firm_id=firm)
    assert ran.state == "failed"
    assert changed(before, rows_written()) <= OWN_RECORD


def test_migrating_again_changes_nothing(run_dag, rows_written):
    before = rows_written()
    assert run_dag("cp_ops_migrate").state == "success"
    assert changed(before, rows_written()) == set()
