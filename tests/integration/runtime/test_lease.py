"""Who runs a command now: one at a time, taken over only when its holder is gone, fenced when it was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from cp_ops.crm.stale_deals.job import CheckStaleDeals
from cp_ops.runtime.errors import (
    AlreadyRunningError,
    DatabaseUnavailableError,
    EarlierAttemptRunningError,
    LeaseLostError,
    StatementFailedError,
    Verdict,
)
from sandbox.application import REPOSITORY
from tests.integration.scripted_job import ScriptedJob, note_on_firms

if TYPE_CHECKING:
    from cp_ops.runtime.job import JobRun


@pytest.fixture
def firm(world):
    return world.firm()


@pytest.fixture
def runs(runner):
    """Every run so far, as (state, holder), in the order in which they began."""

    def read():
        with runner.connect() as connection:
            return connection.execute("SELECT state, holder FROM cp_ops.job_run ORDER BY id").fetchall()

    return read


def wait_until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def lease_has_expired(runner):
    with runner.connect() as connection:
        return connection.execute(
            "SELECT bool_and(expires_at <= now()) FROM cp_ops.job_run WHERE state = 'running'"
        ).fetchone()[0]


def go_silent(runner, run: JobRun):
    """Stop the heartbeat, as a frozen or cut-off worker does, and wait until the lease has expired."""
    run._lease.stop_heartbeat()
    wait_until(lambda: lease_has_expired(runner))


def test_a_second_run_skips_and_records_why_and_writes_nothing(runner, firm, runs, written):
    seen = []

    def script(run):
        before = written()
        with pytest.raises(
            AlreadyRunningError, match="already running: scripted is being run by first since"
        ):
            runner(ScriptedJob(lambda run: note_on_firms(run, "second ")), holder="second")
        seen.append({table for table, rows in written().items() if rows != before[table]})
        seen.append(dict(runner.last.skip_reasons))
        note_on_firms(run, "first ")

    outcome = runner(ScriptedJob(script), holder="first")
    assert seen == [{"cp_ops.job_run"}, {"already running": 1}]
    assert outcome.error == ""
    assert firm.row()["notes"] == "first "
    assert runs() == [("success", "first"), ("skipped", "second")]


def test_of_eight_runs_at_once_exactly_one_works(runner, firm, runs):
    def script(run):
        wait_until(lambda: sum(state == "skipped" for state, _ in runs()) == 7)
        note_on_firms(run, "x")

    def attempt(number):
        try:
            runner(ScriptedJob(script), holder=f"worker-{number}")
        except AlreadyRunningError:
            return "skipped"
        return "worked"

    with ThreadPoolExecutor(8) as pool:
        results = sorted(pool.map(attempt, range(8)))
    assert results == ["skipped"] * 7 + ["worked"]
    assert firm.row()["notes"] == "x"
    assert sorted(state for state, _ in runs()) == ["skipped"] * 7 + ["success"]


def test_other_commands_scopes_and_dry_runs_do_not_wait(runner, firm, runs):
    class Other(ScriptedJob):
        command = "other"

    class Scoped(ScriptedJob):
        def scope(self, options):
            return f"firm:{options.firm_id}"

    def script(run):
        runner(Other())
        runner(Scoped(), firm_id=1)
        runner(Scoped(lambda run: runner(Scoped(), firm_id=3)), firm_id=2)
        runner(ScriptedJob(), dry_run=True)

    runner(ScriptedJob(script))
    assert [state for state, _ in runs()] == ["success"] * 6


def test_a_silent_holder_is_taken_over_and_cannot_write_any_more(runner, firm, runs):
    runner.lease_ttl = 1

    def script(run):
        note_on_firms(run, "before ")
        go_silent(runner, run)
        runner(ScriptedJob(lambda run: note_on_firms(run, "successor ")), holder="successor")
        note_on_firms(run, "zombie ")

    with pytest.raises(LeaseLostError, match="lost its lease to another run and must not write any more"):
        runner(ScriptedJob(script), holder="silent")
    assert firm.row()["notes"] == "before successor "
    assert runs() == [("abandoned", "silent"), ("success", "successor")]


def test_a_holder_that_was_taken_over_cannot_report_success(runner, firm, runs):
    runner.lease_ttl = 1

    def script(run):
        go_silent(runner, run)
        runner(ScriptedJob(), holder="successor")

    with pytest.raises(LeaseLostError, match="took over before this one could record its outcome"):
        runner(ScriptedJob(script), holder="silent")
    assert runs() == [("abandoned", "silent"), ("success", "successor")]


def test_nobody_takes_over_while_the_holder_has_a_transaction_open(runner, firm, runs):
    runner.lease_ttl = 1

    def script(run):
        with run.write() as tx:
            tx.connection.execute("UPDATE firm_firm SET notes = 'holder'")
            go_silent(runner, run)
            with pytest.raises(AlreadyRunningError):
                runner(ScriptedJob(lambda run: note_on_firms(run, " intruder")), holder="early")
        runner(ScriptedJob(lambda run: note_on_firms(run, " successor")), holder="late")

    with pytest.raises(LeaseLostError):
        runner(ScriptedJob(script), holder="slow")
    assert firm.row()["notes"] == "holder successor"
    assert runs() == [("abandoned", "slow"), ("skipped", "early"), ("success", "late")]


def test_a_silent_holder_that_nobody_took_over_goes_on(runner, firm, runs):
    """Expired is not lost: the fence is the row, not the clock."""
    runner.lease_ttl = 1

    def script(run):
        go_silent(runner, run)
        note_on_firms(run, "still mine")

    runner(ScriptedJob(script), holder="slow")
    assert firm.row()["notes"] == "still mine"
    assert runs() == [("success", "slow")]


def test_the_heartbeat_keeps_the_lease_of_a_long_job_and_does_not_wait_for_its_transactions(
    runner, firm, runs
):
    runner.lease_ttl = 3

    def script(run):
        with run.write():
            time.sleep(4)
            assert not lease_has_expired(runner)
        with pytest.raises(AlreadyRunningError):
            runner(ScriptedJob(), holder="other")

    runner(ScriptedJob(script), holder="long")
    assert runs() == [("success", "long"), ("skipped", "other")]


def test_the_heartbeat_survives_the_loss_of_its_connection(runner, firm, postgres, app_db):
    runner.lease_ttl = 3

    def terminate_heartbeat():
        with postgres.connect(app_db.name) as connection:
            return connection.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = %s AND query LIKE 'UPDATE cp_ops.job_run SET expires_at%%'",
                [app_db.name],
            ).fetchone()[0]

    def script(run):
        wait_until(terminate_heartbeat)
        time.sleep(4)
        assert not lease_has_expired(runner)

    runner(ScriptedJob(script))


def test_a_run_whose_connection_was_cut_is_an_outage_and_its_record_expires(
    runner, firm, runs, postgres, app_db
):
    runner.lease_ttl = 1

    def script(run):
        pid = run._connection.info.backend_pid
        with postgres.connect(app_db.name) as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        note_on_firms(run, "never")

    with pytest.raises(DatabaseUnavailableError):
        runner(ScriptedJob(script), holder="cut")
    assert runs() == [("running", "cut")]
    wait_until(lambda: lease_has_expired(runner))
    runner(ScriptedJob(), holder="next")
    assert runs() == [("abandoned", "cut"), ("success", "next")]
    assert firm.row()["notes"] == ""


def test_a_preview_beats_too_and_is_closed_when_it_was_killed(runner, firm, runs, postgres, app_db):
    runner.lease_ttl = 3

    def long(run):
        time.sleep(4)
        runner(ScriptedJob(), holder="real")

    def killed(run):
        run._lease.stop_heartbeat()
        with postgres.connect(app_db.name) as connection:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [run._connection.info.backend_pid])
        run.firms(None)

    runner(ScriptedJob(long), holder="preview", dry_run=True)
    with pytest.raises(DatabaseUnavailableError):
        runner(ScriptedJob(killed), holder="killed preview", dry_run=True)
    wait_until(lambda: lease_has_expired(runner))
    runner(ScriptedJob(), holder="next")
    assert runs() == [
        ("success", "preview"),
        ("success", "real"),
        ("abandoned", "killed preview"),
        ("success", "next"),
    ]


def test_a_retry_of_the_same_task_waits_for_the_expiry_instead_of_skipping(runner, firm, runs):
    """Its first attempt may still be alive: the retry takes over when the lease has expired, not before."""
    runner.lease_ttl = 3
    took_over_after = []

    def script(run):
        run._lease.stop_heartbeat()
        started = time.monotonic()
        runner(ScriptedJob(lambda run: note_on_firms(run, "retry")), holder="task", attempt=2)
        took_over_after.append(time.monotonic() - started)

    with pytest.raises(LeaseLostError):
        runner(ScriptedJob(script), holder="task", attempt=1)
    assert took_over_after[0] > 1.5
    assert runs() == [("abandoned", "task"), ("success", "task")]
    assert firm.row()["notes"] == "retry"


def test_a_retry_whose_first_attempt_goes_on_beating_fails_and_may_be_tried_again(
    runner, firm, runs, monkeypatch
):
    """Nothing was done and nothing will say so: a skip would be green."""
    monkeypatch.setattr("cp_ops.runtime.lease.BEAT", 1)
    runner.lease_ttl = 2
    refused = []

    def script(run):
        with pytest.raises(EarlierAttemptRunningError) as caught:
            runner(ScriptedJob(), holder="task", attempt=2)
        refused.append((str(caught.value), caught.value.verdict, runner.last))

    runner(ScriptedJob(script), holder="task", attempt=1)
    [(message, verdict, outcome)] = refused
    assert message.startswith("scripted: attempt 1 of this task still runs, since ")
    assert verdict is Verdict.RETRY
    assert (outcome.error, dict(outcome.skip_reasons)) == (message, {})
    assert runs() == [("success", "task"), ("failed", "task")]
    with runner.connect() as connection:
        kept = connection.execute(
            "SELECT error, outcome->>'error' FROM cp_ops.job_run WHERE attempt = 2"
        ).fetchone()
    assert kept == (message, message)


KILLED_JOB = """
import sys, time, psycopg
import cp_ops.crm.stale_deals.job as stale_deals
from cp_ops.runtime.lease import Identity
from cp_ops.runtime.runner import run_job
from cp_ops.runtime.settings import Settings

def linger(text):
    print(text, flush=True)
    time.sleep(600)

stale_deals.BATCH = 3
run_job(stale_deals.CheckStaleDeals(), stale_deals.CheckStaleDealsOptions(),
        connect=lambda: psycopg.connect(sys.argv[1], autocommit=True), settings=Settings(),
        identity=Identity("killed"), on_progress=linger, lease_ttl=4)
"""


def test_a_job_killed_in_the_middle_is_closed_as_abandoned_and_finished_by_the_next_run(
    runner, firm, runs, owner
):
    for _ in range(10):
        firm.deal(last_activity_days_ago=60)
    path = os.pathsep.join([str(REPOSITORY / "plugins"), str(REPOSITORY)])
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED_JOB, runner.dsn],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    try:
        assert child.stdout.readline() == "6 of 20 changes made\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    with pytest.raises(AlreadyRunningError):
        runner(CheckStaleDeals(), holder="early")
    wait_until(lambda: lease_has_expired(runner))

    outcome = runner(CheckStaleDeals(), holder="next")

    assert outcome.done == 14
    assert runs() == [("abandoned", "killed"), ("skipped", "early"), ("success", "next")]
    assert owner.execute("SELECT count(*) FILTER (WHERE is_stale), count(*) FROM crm_deals").fetchone() == (
        10,
        10,
    )
    assert owner.execute("SELECT count(DISTINCT deal_id), count(*) FROM crm_deal_alert").fetchone() == (
        10,
        10,
    )


def test_a_failed_run_frees_its_lease_and_keeps_its_error(runner, firm, runs):
    def script(run):
        raise KeyError("jane@example.com")

    with pytest.raises(Exception, match=r"^scripted: unexpected error \(KeyError\)$"):
        runner(ScriptedJob(script), holder="broken")
    runner(ScriptedJob(), holder="next")
    assert runs() == [("failed", "broken"), ("success", "next")]
    with runner.connect() as connection:
        kept = connection.execute(
            "SELECT error, outcome::text FROM cp_ops.job_run ORDER BY id LIMIT 1"
        ).fetchone()
    assert kept[0] == "scripted: unexpected error (KeyError)"
    assert "jane" not in kept[1]


def test_no_thread_is_left_behind(runner, firm):
    runner(ScriptedJob())
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("heartbeat")] == []


def test_a_dry_run_cannot_open_a_writing_transaction(runner, firm):
    with pytest.raises(Exception, match="scripted: unexpected error"):
        runner(ScriptedJob(lambda run: note_on_firms(run, "x")), dry_run=True)
    assert firm.row()["notes"] == ""


def test_a_constraint_that_is_checked_at_commit_is_refused_like_a_statement(runner, firm, runs):
    def script(run):
        with (
            pytest.raises(
                StatementFailedError, match=r"^commit: refused by the database \(ForeignKeyViolation 23503"
            ),
            run.write() as tx,
        ):
            tx.connection.execute(
                "INSERT INTO crm_deal_alert_recipients (dealalert_id, user_id) VALUES (999, 999)"
            )
        note_on_firms(run, "goes on")

    runner(ScriptedJob(script), holder="deferred")
    assert firm.row()["notes"] == "goes on"
    assert runs() == [("success", "deferred")]


def test_an_own_error_leaves_a_transaction_as_it_is(runner, firm):
    error = LeaseLostError("as it is")

    def script(run):
        with pytest.raises(LeaseLostError) as caught, run.write():
            raise error
        assert caught.value is error

    runner(ScriptedJob(script))
