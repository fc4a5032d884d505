"""A task whose time is up in a statement: failed, reported, and nothing of it goes on at the server."""

from __future__ import annotations

import time
from datetime import timedelta

import psycopg
import pytest

from sandbox.world import World
from tests.dags.conftest import load_dags

TIMEOUT = timedelta(seconds=3)


@pytest.fixture
def alerts(monkeypatch, smtp, connect):
    """What the operators are told by mail."""
    connect(["smtp_default"])
    monkeypatch.setenv("AIRFLOW__CP_OPS__ALERT_EMAIL", "oncall@example.test")
    return lambda: [mail.message["Subject"] for mail in smtp.mails()]


def test_a_timeout_in_a_statement_fails_the_task_reports_it_and_ends_the_statement(
    metadata_db, connections, alerts, app_db, postgres
):
    dag = load_dags()["check_stale_deals"]
    dag.get_task("check_stale_deals").execution_timeout = TIMEOUT
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
        World(connection).firm()
    started = time.monotonic()
    with psycopg.connect(app_db.owner_dsn) as blocker:
        blocker.execute("LOCK TABLE crm_deals")
        run = dag.test(run_conf={})
        with postgres.connect(app_db.name) as connection:
            going_on = connection.execute(
                "SELECT query FROM pg_stat_activity WHERE datname = %s AND usename = 'cp_ops'", [app_db.name]
            ).fetchall()
    assert going_on == []
    assert time.monotonic() - started < 30, "the lock timeout of 30 s must not be what ends it"
    [ti] = run.get_task_instances()
    assert (str(run.state), str(ti.state), ti.try_number) == ("failed", "failed", 1)
    outcome = ti.xcom_pull(task_ids=ti.task_id, key="outcome")
    assert outcome["error"] == "check_stale_deals: timed out (AirflowTaskTimeout)"
    assert alerts() == ["check_stale_deals.check_stale_deals failed"]
    with psycopg.connect(app_db.cp_ops_dsn) as connection:
        records = connection.execute("SELECT state, error FROM cp_ops.job_run").fetchall()
    assert records == [("failed", "check_stale_deals: timed out (AirflowTaskTimeout)")]
