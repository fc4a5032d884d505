"""The operations page inside a real API server application, with its real log-in."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient


@pytest.fixture
def browser(metadata_db, connections):
    """A client of Airflow's API server, not logged in."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    purge_cached_app()
    with TestClient(create_app()) as client:
        yield client
    purge_cached_app()


def token(role):
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    return {
        "Authorization": f"Bearer {get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=role, role=role))}"
    }


def test_nobody_sees_it_without_logging_in(browser):
    """Airflow does not guard a plugin's application by itself."""
    assert browser.get("/cp_ops/").status_code == 401


def test_a_logged_in_operator_sees_runs_and_findings(browser, run_dag, demo_world, s3_server):
    run_dag("reconcile_s3")
    page = browser.get("/cp_ops/", headers=token("op"))
    assert page.status_code == 200
    assert "reconcile_s3" in page.text
    assert "missing_object" in page.text
    assert "Mark deals" not in page.text


def test_one_command_has_a_page_of_its_own(browser, run_dag):
    run_dag("cleanup_webhook_events", dry_run=True)
    run_dag("check_stale_deals", dry_run=True)
    page = browser.get("/cp_ops/", params={"command": "check_stale_deals"}, headers=token("op")).text
    assert "check_stale_deals" in page
    assert "cleanup_webhook_events" not in page


def test_what_it_shows_cannot_be_script(browser):
    page = browser.get("/cp_ops/", params={"command": "<script>alert(1)</script>"}, headers=token("op")).text
    assert "<script>" not in page


def test_a_database_that_is_away_is_said_not_thrown(browser, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_CP_APP", '{"conn_type": "postgres", "host": "127.0.0.1", "port": 9}')
    page = browser.get("/cp_ops/", headers=token("op"))
    assert page.status_code == 503
    assert "database not reachable" in page.text
