"""A task's timeout strikes anywhere, also in a statement: it stays a timeout, and nothing goes on at the server."""

from __future__ import annotations

import time
from contextlib import suppress

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout

from cp_ops.runtime.database import transaction
from cp_ops.runtime.errors import CpOpsError
from tests.integration.conftest import Runner
from tests.integration.scripted_job import ScriptedJob, note_on_firms

TIMEOUT = 1.0
"""Seconds that the task may take."""
CLEARLY_LESS = 15
"""Seconds: between the timeout with all that follows it and the 60 s for which the statements below would run."""
ENDLESS = "SELECT pg_sleep(60)"


@pytest.fixture
def firm(world):
    return world.firm()


@pytest.fixture
def records(app_db):
    """Every run so far, as (state, error)."""

    def read():
        with psycopg.connect(app_db.cp_ops_dsn) as connection:
            return connection.execute("SELECT state, error FROM cp_ops.job_run ORDER BY id").fetchall()

    return read


@pytest.fixture
def executing(postgres, app_db):
    """The statements that the jobs' role is executing, except idle connections."""

    def read():
        with postgres.connect(app_db.name) as connection:
            return connection.execute(
                "SELECT query FROM pg_stat_activity"
                " WHERE datname = %s AND usename = 'cp_ops' AND (state = 'active' OR xact_start IS NOT NULL)",
                [app_db.name],
            ).fetchall()

    return read


def time_out(runner, script, **identity):
    """Run a script in a task of `TIMEOUT` seconds, as Airflow does."""
    started = time.monotonic()
    with pytest.raises(AirflowTaskTimeout), timeout(TIMEOUT):
        runner(ScriptedJob(script), **identity)
    assert time.monotonic() - started < CLEARLY_LESS


def raw(run):
    with run.write() as tx:
        tx.connection.execute(ENDLESS)


def named(run):
    """Wait for the table lock that the test holds."""
    with run.read() as tx:
        tx.rows("firms", firm_id=None)


def streamed(run):
    with run.read() as tx:
        for _ in tx.stream("firms", firm_id=None):
            pass


def in_a_savepoint(run):
    with run.write() as tx, transaction(tx.connection):
        tx.connection.execute(ENDLESS)


def with_temporary_tables(run):
    with run.temporary_tables([], drop="drop_seen_finding"):
        raw(run)


def copied(run):
    """Wait for the result of a COPY whose rows are all sent."""
    with run.write() as tx:
        tx.execute("create_seen_finding")
        tx.connection.execute(
            "CREATE FUNCTION pg_temp.nap() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END'"
        )
        tx.connection.execute(
            "CREATE TRIGGER nap AFTER INSERT ON seen_finding EXECUTE FUNCTION pg_temp.nap()"
        )
        tx.copy("stage_seen_findings", [("a", "b", None, "INFO", "", "{}")])


def cleaned_up(run):
    """The clean-up cannot work any more; its error, which a row's handler takes, must not stand for the timeout."""
    with suppress(CpOpsError):
        try:
            raw(run)
        finally:
            note_on_firms(run, "cleaned up")


def row_by_row(run):
    """Count a row's own error and go on: a timeout is none."""
    for script in (copied, named, streamed):
        with suppress(CpOpsError):
            script(run)


@pytest.mark.parametrize(
    "script",
    [raw, named, streamed, in_a_savepoint, with_temporary_tables, copied, cleaned_up, row_by_row],
    ids=lambda f: f.__name__,
)
def test_a_timeout_in_a_statement_ends_the_run_and_the_statement(
    script, runner, firm, records, executing, app_db
):
    with psycopg.connect(app_db.owner_dsn) as blocker:
        blocker.execute("LOCK TABLE firm_firm")
        time_out(runner, script)
        assert executing() == []
    assert records() == [("failed", "scripted: timed out (AirflowTaskTimeout)")]
    assert runner.last.error == "scripted: timed out (AirflowTaskTimeout)"


def test_what_the_interrupted_transaction_did_is_rolled_back_and_the_next_run_need_not_wait(
    runner, firm, records
):
    def script(run):
        note_on_firms(run, "committed ")
        with run.write() as tx:
            tx.connection.execute("UPDATE firm_firm SET notes = 'half done'")
            tx.connection.execute(ENDLESS)

    time_out(runner, script, holder="task", attempt=1)
    started = time.monotonic()
    runner(ScriptedJob(lambda run: note_on_firms(run, "next")), holder="task", attempt=2)
    assert time.monotonic() - started < CLEARLY_LESS
    assert firm.row()["notes"] == "committed next"
    assert [state for state, _ in records()] == ["failed", "success"]


def test_a_timeout_between_statements_is_recorded_too(runner, firm, records):
    time_out(runner, lambda run: time.sleep(60))
    assert records() == [("failed", "scripted: timed out (AirflowTaskTimeout)")]


def test_a_timeout_while_the_run_waits_for_its_lease_is_the_outcomes_error(runner, firm):
    def script(run):
        time_out(runner, lambda run: None, holder="task", attempt=2)
        assert runner.last.error == "scripted: timed out (AirflowTaskTimeout)"

    runner(ScriptedJob(script), holder="task", attempt=1)


def test_another_interruption_is_recorded_by_its_name(runner, firm, records):
    def script(run):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        runner(ScriptedJob(script))
    assert records() == [("failed", "scripted: interrupted (SystemExit)")]


class Unreachable(Runner):
    """The database answers once, and to nobody who comes later."""

    connections = 0

    def connect(self):
        self.connections += 1
        if self.connections > 1:
            raise psycopg.OperationalError("could not connect")
        return super().connect()


def test_a_timeout_stays_a_timeout_where_its_record_cannot_be_closed(
    app_db, firm, records, executing, caplog
):
    time_out(Unreachable(app_db.cp_ops_dsn), raw)
    assert records() == [("running", "")]
    assert executing() == []
    assert (
        "stays open until its lease expires: scripted: database not reachable (OperationalError)"
        in caplog.text
    )


def test_the_lease_is_not_given_back_while_a_transaction_of_the_run_is_open(
    runner, firm, records, app_db, monkeypatch, caplog
):
    """The server may not have ended the interrupted transaction yet: the lease outlives it."""
    monkeypatch.setattr("cp_ops.runtime.runner.FENCE_SECONDS", 1)
    with psycopg.connect(app_db.cp_ops_dsn) as lingering:

        def script(run):
            lingering.execute("SELECT FROM cp_ops.job_run WHERE id = %s FOR KEY SHARE", [run.run_id])
            raw(run)

        time_out(runner, script)
        assert records() == [("running", "")]
    assert "(LockNotAvailable 55P03)" in caplog.text
