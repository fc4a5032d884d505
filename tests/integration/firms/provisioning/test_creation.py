"""A new firm: everything in it, its administrator's account, other firms untouched."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from datetime import timedelta

import psycopg
import pytest

from cp_ops.runtime.errors import OptionsError
from tests.integration.firms.provisioning.conftest import (
    EVERYTHING,
    PASSWORD,
    SETTINGS,
    firm_id,
    one,
    provision,
    rows,
    what_is_there,
)


def test_everything_is_created_with_the_given_settings(runner, db):
    outcome = provision(
        runner, password=PASSWORD, timezone="Europe/Paris", currency="EUR", tier="enterprise", max_users=50,
        admin_first_name="Robin", admin_last_name="Finch",
    )  # fmt: skip

    assert what_is_there(db, "acme-consulting") == EVERYTHING
    firm = one(
        db,
        "SELECT name, status, timezone, currency, subscription_tier, max_users, max_clients, trial_ends_at - created_at,"
        " id FROM firm_firm WHERE slug = 'acme-consulting'",
    )
    assert firm[:8] == (
        "Acme Consulting",
        "trial",
        "Europe/Paris",
        "EUR",
        "enterprise",
        50,
        25,
        timedelta(days=30),
    )
    assert outcome.numbers["firm_id"] == firm[8]
    user = one(
        db, "SELECT username, email, first_name, last_name, is_staff, is_superuser, is_active FROM auth_user"
    )
    assert user == ("robin@acme.example", "Robin@acme.example", "Robin", "Finch", False, False, True)
    membership = one(
        db, "SELECT role, is_active, can_manage_users AND can_manage_billing FROM firm_membership"
    )
    assert membership == ("admin", True, True)
    log = one(
        db,
        "SELECT status, firm_id, error_step, completed_at IS NOT NULL, steps_completed FROM firm_provisioning_log",
    )
    assert log[:4] == ("completed", firm[8], "", True)
    assert log[4][:3] == ["create_firm", "create_account", "create_membership"]
    audit = one(db, "SELECT category, action, metadata FROM firm_audit_events")
    assert audit[:2] == ("CONFIG", "provision_firm.run")


def test_the_account_can_log_in_to_django(runner, db, app_db):
    """Django 4.2 itself, on this database, with the application's hashers."""
    provision(runner, password=PASSWORD)
    script = textwrap.dedent("""
        import sys, django
        from django.conf import settings
        from psycopg.conninfo import conninfo_to_dict
        dsn = conninfo_to_dict(sys.argv[1])
        settings.configure(
            INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
            DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": dsn["dbname"], "USER": dsn["user"],
                                   "PASSWORD": dsn["password"], "HOST": dsn["host"], "PORT": dsn["port"]}})
        django.setup()
        from django.contrib.auth import authenticate
        user = authenticate(username="robin@acme.example", password=sys.argv[2])
        print("in" if user and user.is_active else "out")
        print("out" if authenticate(username="robin@acme.example", password="wrong") is None else "in")
    """)
    ran = subprocess.run(
        [sys.executable, "-c", script, app_db.owner_dsn, PASSWORD], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["in", "out"]


def test_the_password_is_nowhere_in_the_database_but_as_a_hash(runner, db):
    provision(runner, password=PASSWORD)
    assert one(db, "SELECT password FROM auth_user")[0].startswith("pbkdf2_sha256$600000$")
    for schema, table in rows(
        db, "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'cp_ops')"
    ):
        found = rows(
            db, f'SELECT 1 FROM "{schema}"."{table}" AS line WHERE line::text LIKE %s', f"%{PASSWORD}%"
        )
        assert found == [], table


@pytest.mark.parametrize("weak", ["tiny-9", "robin@acme.example", "1qaz2wsx3edc", "739184620571"])
def test_a_password_that_the_application_would_refuse_is_refused(runner, db, weak):
    with pytest.raises(
        OptionsError, match=r"^admin_password_ref: the application would refuse the password"
    ) as raised:
        provision(runner, password=weak)
    assert weak not in str(raised.value)
    assert rows(db, "SELECT 1 FROM firm_firm") == []


def test_a_dry_run_plans_the_same_and_writes_only_its_outcome(runner, db, written):
    before = written()
    preview = provision(runner, password=PASSWORD, dry_run=True)
    assert {table for table, count in written().items() if count != before.get(table, 0)} == {
        "cp_ops.job_run"
    }
    assert preview.plan_sha256 == provision(runner, password=PASSWORD).plan_sha256


def test_other_firms_stay_as_they_are(runner, db, world):
    other = world.firm()
    other.user(role="admin")
    other.retention_policy("leads", 100)
    other.pipeline()

    def dump():
        tables = ["firm_firm", "firm_membership", "core_retention_policies", "crm_pipelines", "auth_user"]
        condition = {
            "firm_firm": "id = %s",
            "auth_user": "id IN (SELECT user_id FROM firm_membership WHERE firm_id = %s)",
        }
        return {
            table: rows(
                db,
                f"SELECT t::text FROM {table} t WHERE {condition.get(table, 'firm_id = %s')} ORDER BY 1",
                other.id,
            )
            for table in tables
        }

    before = dump()
    provision(runner)
    assert dump() == before


def test_under_row_level_security_the_log_row_comes_with_the_firm(world, db, enable_row_level_security):
    """A log row without a firm would violate the policy: a failure is kept in cp_ops.job_run instead."""
    runner = enable_row_level_security().with_settings(**SETTINGS)
    provision(runner)
    key = firm_id(db)
    with psycopg.connect(runner.dsn, autocommit=True) as connection:
        connection.execute("SELECT set_config('app.current_firm_id', %s, false)", (str(key),))
        assert what_is_there(connection, "acme-consulting") == EVERYTHING
        assert one(connection, "SELECT status FROM firm_provisioning_log") == ("completed",)
    assert provision(runner).planned == 0

    with pytest.raises(OptionsError):
        provision(runner, admin_email="somebody.else@acme.example")
    failed = one(
        db, "SELECT outcome -> 'numbers' ->> 'failed_step', error FROM cp_ops.job_run WHERE state = 'failed'"
    )
    assert failed[0] == "check"
    assert failed[1].startswith("slug: a firm with this slug exists")


@pytest.mark.parametrize("table", ["firm_provisioning_log", "core_retention_policies"])
def test_a_deployment_without_an_optional_table_is_served(runner, db, owner, table):
    owner.execute(f"DROP TABLE {table} CASCADE")
    provision(runner)
    assert one(db, "SELECT count(*) FROM firm_firm") == (1,)
