"""A password never gets into Airflow's metadata database, logs or XComs by way of provision_firm."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psycopg
import pytest

from tests.dags.documented import COMMANDS

CANARY = "kestrel-canary-41 battery"
REQUEST = COMMANDS["provision_firm"].required


@pytest.fixture
def password_connection(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ALDER_ADMIN", json.dumps({"conn_type": "generic", "password": CANARY}))


def files_with_the_canary(folder):
    return [
        path for path in Path(folder).rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()
    ]


def test_the_password_of_the_reference_reaches_the_account_and_nothing_else(
    run_dag, password_connection, app_db, capfd
):
    """Every byte of Airflow's home: the metadata database with its XComs and audit log, and the task logs."""
    ran = run_dag("provision_firm", **REQUEST, admin_password_ref="alder_admin")
    assert ran.state == "success"
    assert ran.outcomes["provision_firm"]["done"] > 0
    assert files_with_the_canary(os.environ["AIRFLOW_HOME"]) == []
    assert CANARY not in "".join(capfd.readouterr())
    with psycopg.connect(app_db.cp_ops_dsn, autocommit=True) as connection:
        assert (
            connection.execute("SELECT password FROM auth_user")
            .fetchone()[0]
            .startswith("pbkdf2_sha256$600000$")
        )
        runs = connection.execute("SELECT to_jsonb(run)::text FROM cp_ops.job_run AS run").fetchall()
    assert all(CANARY not in row[0] and "alder.example" not in row[0] for row in runs)


def test_a_run_that_carries_a_password_is_refused_before_anything_is_read(run_dag, app_db, capfd):
    """A trap. Airflow itself has stored it with the run by then: the message says to delete that run."""
    ran = run_dag("provision_firm", **REQUEST, admin_password=CANARY)
    assert ran.state == "failed"
    with psycopg.connect(app_db.cp_ops_dsn, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM firm_firm").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM cp_ops.job_run").fetchone() == (0,)
    printed = "".join(capfd.readouterr())
    assert "Delete this run now" in printed


def test_a_reference_to_a_missing_connection_fails_without_quoting_it(run_dag, capfd, monkeypatch):
    monkeypatch.setattr("cp_ops.operators.dags.RETRIES", 0)
    ran = run_dag("provision_firm", **REQUEST, admin_password_ref="no-such-connection-77")
    assert ran.state == "failed"
    assert "option admin_password_ref names it" in "".join(capfd.readouterr())
