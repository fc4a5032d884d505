"""A password never gets into Airflow by way of provision_firm, whichever door the run comes through.

The operator stores the password as a connection, which Airflow encrypts, and names it. Afterwards every column of every
table of Airflow's metadata database and every log file is searched for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from sandbox.services.airflow import Airflow
from tests.acceptance.trigger_form import Form, newest_run

pytestmark = pytest.mark.scheduler

CANARY = "heron-canary-93 lantern"
REFERENCE = "new_firm_admin"


@pytest.fixture(scope="module")
def password_connection(api):
    """The way that the documentation recommends: a connection, by the REST API."""
    api.create_connection(REFERENCE, password=CANARY)


@pytest.fixture
def metadata(sandbox):
    """Airflow's own database."""
    dsn = sandbox.environment()["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace(
        "postgresql+psycopg2://", "postgresql://"
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def places_in_the_metadata_database(connection, text):
    """Every column of every table that holds a text, as table.column."""
    columns = connection.execute(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns"
        " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
    ).fetchall()
    found = []
    for schema, table, column in columns:
        statement = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {}::text LIKE %s)").format(
            sql.Identifier(schema, table), sql.Identifier(column)
        )
        if connection.execute(statement, (f"%{text}%",)).fetchone()[0]:
            found.append(f"{table}.{column}")
    assert len(columns) > 300
    return found


def logs_with(sandbox, text):
    folder = Path(sandbox.service(Airflow).directory)
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def request(slug):
    return {
        "name": f"Firm {slug}",
        "slug": slug,
        "admin_email": f"admin@{slug}.example",
        "admin_password_ref": REFERENCE,
    }


def by_rest(api, sandbox, driver):
    return api.trigger("provision_firm", request("by-rest"))


def by_command_line(api, sandbox, driver):
    conf = json.dumps(request("by-command-line"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "airflow",
            "dags",
            "trigger",
            "provision_firm",
            "--conf",
            conf,
            "--run-id",
            "typed",
        ],
        env={**os.environ, **sandbox.environment()},
        capture_output=True,
        check=True,
    )
    return api.run("provision_firm", "typed")


def by_form(api, sandbox, driver):
    before = {run.run_id for run in api.runs("provision_firm")}
    form = Form(driver, api.base_url, "provision_firm")
    assert form.shows(
        "Name", "Slug", "Administrator's e-mail", "Password reference", "Time zone", "Tier", "Dry run"
    )
    for param, text in request("by-form").items():
        form.type(param, text)
    assert form.submit()
    assert form.closed(40)
    return newest_run(api, "provision_firm", 40, before)


@pytest.mark.browser
@pytest.mark.parametrize("door", [by_rest, by_command_line, by_form], ids=lambda door: door.__name__)
def test_the_password_is_nowhere_in_airflow(door, api, sandbox, metadata, app, password_connection, driver):
    run = api.wait(door(api, sandbox, driver), seconds=120)

    assert run.state == "success", api.log(run, "provision_firm")
    slug = api.conf(run)["slug"]
    stored = app.execute(
        "SELECT password FROM auth_user WHERE email = %s", (f"admin@{slug}.example",)
    ).fetchone()[0]
    assert stored.startswith("pbkdf2_sha256$600000$")
    assert places_in_the_metadata_database(metadata, CANARY) == []
    assert logs_with(sandbox, CANARY) == []


def test_the_search_itself_finds_what_is_there(api, metadata):
    """A check that cannot fail is none: what a conf carries is stored in clear, and the search sees it."""
    run = api.wait(
        api.trigger("provision_firm", {**request("refused"), "admin_password": "plain-text-12"}), seconds=120
    )
    assert run.state == "failed"
    assert "Delete this run" in api.log(run, "provision_firm")
    assert "dag_run.conf" in places_in_the_metadata_database(metadata, "plain-text-12")
