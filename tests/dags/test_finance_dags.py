"""What ties the finance DAGs together: who refreshes the views when."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import psycopg
import pytest

from cp_ops.operators.finance import INVOICES, triggered_by


@pytest.fixture
def announcements():
    """How often a run announced that it changed invoices or payments, from Airflow's own database."""

    def count() -> int:
        with sqlite3.connect(Path(os.environ["AIRFLOW_HOME"]) / "airflow.db") as metadata:
            query = "SELECT count(*) FROM asset_event JOIN asset ON asset.id = asset_id WHERE asset.name = ?"
            return int(metadata.execute(query, [INVOICES.name]).fetchone()[0])

    return count


def test_the_views_are_refreshed_daily_and_after_changes_to_invoices(dags):
    timetable = dags["refresh_materialized_views"].timetable
    assert timetable.timetable.expression == "0 5 * * *"
    assert [asset.name for asset in timetable.asset_condition.objects] == [INVOICES.name]


def test_only_a_run_that_issued_invoices_announces_it(run_dag, demo_world, announcements):
    before = announcements()
    assert run_dag("generate_package_invoices", dry_run=True).state == "success"
    assert announcements() == before
    assert run_dag("generate_package_invoices").state == "success"
    assert announcements() == before + 1
    assert run_dag("generate_package_invoices").state == "success"
    assert announcements() == before + 1


def test_invoices_that_were_issued_are_announced_although_others_could_not_be(
    run_dag, demo_world, app_db, stripe, announcements
):
    """Airflow takes the events of tasks that succeed: of the issuing one, not of the collecting one that fails for it."""
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
        connection.execute("UPDATE firm_firm SET currency = 'XXX' WHERE id = 1")
    before = announcements()
    ran = run_dag("process_recurring_charges")
    assert ran.tasks == {"issue_invoices": "success", "collect": "failed"}
    assert (ran.outcomes["issue_invoices"]["failed"], ran.outcomes["issue_invoices"]["done"] > 0) == (1, True)
    assert announcements() == before + 1


def test_a_run_by_hand_is_logged_as_manual(run_dag, app_db):
    assert run_dag("refresh_materialized_views", view="mv_utilization_by_user_week").state == "success"
    with psycopg.connect(app_db.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT view_name, triggered_by, refresh_status FROM finance_mv_refresh_log"
        )
        assert rows.fetchall() == [("mv_utilization_by_user_week", "manual", "success")]


def test_airflows_run_types_are_said_in_the_logs_words():
    from airflow.sdk.api.datamodels._generated import DagRunType

    assert {kind.value: triggered_by(kind) for kind in DagRunType} == {
        **dict.fromkeys((kind.value for kind in DagRunType), "scheduled"),
        "manual": "manual",
        "asset_triggered": "event",
    }
    assert triggered_by("manual") == "manual"
