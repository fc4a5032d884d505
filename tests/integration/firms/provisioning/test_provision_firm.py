"""provision_firm against a real database, a real mail server, and Django 4.2."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from datetime import timedelta
from smtplib import SMTP

import psycopg
import pytest

from cp_ops.firms.provisioning.job import ProvisionFirm
from cp_ops.mail.delivery.job import DeliverMail
from cp_ops.runtime.errors import AlreadyRunningError, ConnectionMissingError, OptionsError, SettingError
from tests.integration.killed import let_leases_expire, run_killed

PASSWORD = "correct horse battery staple 9"
SETTINGS = {"frontend_url": "https://app.example.test", "default_from_email": "ops@example.test"}
ACME = {"name": "Acme Consulting", "slug": "acme-consulting", "admin_email": "Robin@Acme.example"}
TABLES = {
    "firm_membership": 1,
    "projects_templates": 3,
    "marketing_email_templates": 3,
    "crm_pipelines": 1,
    "core_retention_policies": 9,
}


def no_password(_):
    raise AssertionError("nobody asked for a password")


@pytest.fixture
def runner(runner):
    return runner.with_settings(**SETTINGS)


@pytest.fixture
def db(app_db):
    """A connection that sees schema cp_ops, too."""
    with psycopg.connect(app_db.cp_ops_dsn, autocommit=True) as connection:
        yield connection


def provision(runner, *, password=None, **options):
    def password_of(reference):
        assert reference == "acme_admin"
        return password

    job = ProvisionFirm(password_of if password is not None else no_password)
    if password is not None:
        options["admin_password_ref"] = "acme_admin"
    return runner(job, **{**ACME, **options})


def rows(db, query, *params):
    return db.execute(query, params).fetchall()


def one(db, query, *params):
    (row,) = rows(db, query, *params)
    return row


def firm_id(db, slug="acme-consulting"):
    return one(db, "SELECT id FROM firm_firm WHERE slug = %s", slug)[0]


def what_is_there(db, slug):
    """Rows per table of a firm; empty when there is no firm."""
    found = rows(db, "SELECT id FROM firm_firm WHERE slug = %s", slug)
    if not found:
        return {}
    counts = {
        table: one(db, f"SELECT count(*) FROM {table} WHERE firm_id = %s", found[0][0])[0] for table in TABLES
    }
    stages = "SELECT count(*) FROM crm_pipeline_stages s JOIN crm_pipelines p ON p.id = s.pipeline_id WHERE p.firm_id = %s"
    return counts | {"stages": one(db, stages, found[0][0])[0]}


EVERYTHING = TABLES | {"stages": 6}


class Server:
    """A mail server as `cp_ops.hooks.mail` gives it."""

    def __init__(self, smtp):
        self.smtp = smtp

    @contextmanager
    def connect(self):
        with SMTP(self.smtp.host, self.smtp.port) as client:
            yield self
            del client

    def send(self, message, recipient):
        with SMTP(self.smtp.host, self.smtp.port) as client:
            client.send_message(message, to_addrs=[recipient])


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


def test_the_invitation_is_mailed_after_the_commit_and_works_once(runner, db, owner, smtp):
    provision(runner, admin_first_name="Robin")
    assert one(db, "SELECT left(password, 1) FROM auth_user") == ("!",)
    assert smtp.mails() == []
    runner(DeliverMail(Server(smtp)))

    (mail,) = smtp.mails()
    text = mail.message.get_body(("plain",)).get_content()
    (token,) = re.findall(r"https://app\.example\.test/accept-invitation/([\w-]{43})\s", text)
    assert token in mail.message.get_body(("html",)).get_content()
    user_id = one(db, "SELECT id FROM auth_user")[0]
    redeem = "SELECT cp_ops.redeem_invitation(%s)"
    assert one(owner, redeem, token + "x") == (None,)
    assert one(owner, redeem, token) == (user_id,)
    assert one(owner, redeem, token) == (None,), "single use"


def test_only_the_hash_of_the_token_is_stored(runner, db, smtp):
    """A trap: the outbox would have kept the link."""
    provision(runner)
    assert one(db, "SELECT token_sha256, expires_at FROM cp_ops.invitation") == (None, None)
    runner(DeliverMail(Server(smtp)))
    (mail,) = smtp.mails()
    (token,) = re.findall(r"accept-invitation/([\w-]{43})\s", mail.message.get_body(("plain",)).get_content())
    stored = one(db, "SELECT token_sha256 FROM cp_ops.invitation")[0]
    assert bytes(stored) == hashlib.sha256(token.encode()).digest()
    for schema, table in rows(
        db, "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'cp_ops')"
    ):
        assert (
            rows(db, f'SELECT 1 FROM "{schema}"."{table}" AS line WHERE line::text LIKE %s', f"%{token}%")
            == []
        )


def test_an_invitation_expires_and_provisioning_again_sends_a_new_one(runner, db, owner, smtp):
    provision(runner)
    runner(DeliverMail(Server(smtp)))
    (first,) = smtp.mails()
    (token,) = re.findall(
        r"accept-invitation/([\w-]{43})\s", first.message.get_body(("plain",)).get_content()
    )
    db.execute("UPDATE cp_ops.invitation SET expires_at = now() - interval '1 second'")
    assert one(owner, "SELECT cp_ops.redeem_invitation(%s)", token) == (None,)

    outcome = provision(runner)
    assert outcome.done_kinds == {"invite": 1}
    runner(DeliverMail(Server(smtp)))
    assert len(smtp.mails()) == 2


def test_two_redeemers_at_once_are_one(runner, db, app_db, smtp):
    provision(runner)
    runner(DeliverMail(Server(smtp)))
    (token,) = re.findall(
        r"invitation/([\w-]{43})\s", smtp.mails()[0].message.get_body(("plain",)).get_content()
    )
    got = []

    def redeem():
        with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
            got.append(connection.execute("SELECT cp_ops.redeem_invitation(%s)", (token,)).fetchone()[0])

    threads = [threading.Thread(target=redeem) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(answer is not None for answer in got) == 1


def test_an_invitation_needs_the_frontends_address(runner, db):
    with pytest.raises(SettingError, match="frontend_url"):
        provision(runner.with_settings(default_from_email="ops@example.test"))
    assert rows(db, "SELECT 1 FROM firm_firm") == []


def test_a_dry_run_plans_the_same_and_writes_only_its_outcome(runner, db, written):
    before = written()
    preview = provision(runner, password=PASSWORD, dry_run=True)
    assert {table for table, count in written().items() if count != before.get(table, 0)} == {
        "cp_ops.job_run"
    }
    assert preview.plan_sha256 == provision(runner, password=PASSWORD).plan_sha256


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_the_same_request_again_changes_nothing(runner, written, password):
    provision(runner, password=password)
    before = written()
    outcome = provision(runner, password=password)
    assert (outcome.planned, outcome.done) == (0, 0)
    assert {table for table, count in written().items() if count != before[table]} == {"cp_ops.job_run"}


def test_what_is_missing_is_repaired_and_nothing_else_is_changed(runner, db):
    provision(runner, password=PASSWORD)
    key = firm_id(db)
    password = one(db, "SELECT password FROM auth_user")
    db.execute("DELETE FROM projects_templates WHERE template_code = 'FIXED'")
    db.execute("DELETE FROM core_retention_policies WHERE data_type = 'leads'")
    db.execute("DELETE FROM crm_pipeline_stages")
    db.execute("DELETE FROM firm_membership")
    db.execute("UPDATE projects_templates SET description = 'ours'")

    outcome = provision(runner, password="an entirely different one 7", currency="EUR")
    assert outcome.done_kinds == {
        "create_membership": 1, "create_project_templates": 1, "create_retention_policies": 1, "create_stages": 6,
    }  # fmt: skip
    assert what_is_there(db, "acme-consulting") == EVERYTHING
    assert one(db, "SELECT currency FROM firm_firm WHERE id = %s", key) == ("USD",)
    assert one(db, "SELECT password FROM auth_user") == password
    assert one(db, "SELECT count(*) FROM projects_templates WHERE description = 'ours'") == (2,)
    assert rows(db, "SELECT status FROM firm_provisioning_log ORDER BY id") == [
        ("completed",),
        ("completed",),
    ]


def test_a_slug_of_somebody_elses_firm_is_an_error_and_the_firm_is_untouched(runner, db, world):
    """A trap: it added an administrator to somebody else's firm."""
    firm = world.firm("Acme Consulting", slug="acme-consulting")
    firm.user(role="admin")
    before = rows(db, "SELECT firm_membership::text FROM firm_membership")
    with pytest.raises(OptionsError, match=r"^slug: a firm with this slug exists"):
        provision(runner)
    assert rows(db, "SELECT firm_membership::text FROM firm_membership") == before
    assert one(db, "SELECT count(*) FROM auth_user WHERE email ILIKE 'robin@acme.example'") == (0,)
    log = one(db, "SELECT status, error_step, firm_id, error_message FROM firm_provisioning_log")
    assert log[:3] == ("failed", "check", None)
    assert "acme.example" not in log[3].lower()


@pytest.mark.parametrize("was_a_member", [False, True])
def test_who_once_created_a_firm_gets_no_rights_in_it_while_it_has_its_own_administrator(
    runner, db, world, was_a_member
):
    """`created_by_id` names the platform's operator, or an administrator whose membership was taken away."""
    firm = world.firm("Acme Consulting", slug="acme-consulting")
    creator = (
        world.firm().user(email="robin@acme.example")
        if not was_a_member
        else firm.user(email="robin@acme.example", role="admin")
    )
    firm.update(created_by_id=creator.id)
    firm.user(role="owner")
    db.execute("DELETE FROM firm_membership WHERE firm_id = %s AND user_id = %s", [firm.id, creator.id])
    before = rows(db, "SELECT firm_membership::text FROM firm_membership ORDER BY id")
    with pytest.raises(OptionsError, match=r"^slug: a firm with this slug exists"):
        provision(runner)
    assert rows(db, "SELECT firm_membership::text FROM firm_membership ORDER BY id") == before


def test_the_creator_of_a_firm_whose_last_administrator_is_gone_gets_the_membership_back(runner, db, world):
    firm = world.firm("Acme Consulting", slug="acme-consulting")
    creator = world.firm().user(email="robin@acme.example")
    firm.update(created_by_id=creator.id)
    firm.user(role="staff")
    former = firm.user(role="admin")
    db.execute(
        "UPDATE firm_membership SET is_active = false WHERE firm_id = %s AND user_id = %s",
        [firm.id, former.id],
    )
    assert provision(runner, invite=False).done_kinds["create_membership"] == 1
    assert rows(
        db, "SELECT user_id FROM firm_membership WHERE firm_id = %s AND role = 'admin' AND is_active", firm.id
    ) == [(creator.id,)]


@pytest.mark.parametrize("address", ["robin@acme.example", "ROBIN@ACME.EXAMPLE"])
def test_an_account_with_the_address_in_whatever_case_is_an_error_unless_adopted(runner, db, world, address):
    other = world.firm().user(email=address, username="rob")
    hashed = one(db, "SELECT password FROM auth_user")
    with pytest.raises(OptionsError, match=r"^admin_email: an account with this address exists already"):
        provision(runner)
    assert rows(db, "SELECT 1 FROM firm_firm WHERE slug = 'acme-consulting'") == []

    provision(runner, adopt_existing_user=True, invite=False)
    assert one(db, "SELECT user_id FROM firm_membership WHERE firm_id = %s", firm_id(db)) == (other.id,)
    assert one(db, "SELECT password FROM auth_user") == hashed


def test_a_failure_inside_the_transaction_leaves_nothing_but_the_log_row(runner, db, owner):
    owner.execute("ALTER TABLE crm_pipeline_stages ADD CHECK (name <> 'Negotiation')")
    with pytest.raises(Exception, match="CheckViolation"):
        provision(runner)
    assert what_is_there(db, "acme-consulting") == {}
    assert rows(db, "SELECT 1 FROM auth_user") == []
    assert rows(db, "SELECT 1 FROM cp_ops.invitation UNION ALL SELECT 1 FROM cp_ops.mail") == []
    log = one(
        db, "SELECT status, error_step, steps_completed, firm_id, error_message FROM firm_provisioning_log"
    )
    assert log[:4] == ("failed", "create_pipeline", [], None)
    assert "CheckViolation" in log[4]
    assert runner.last.numbers["failed_step"] == "create_pipeline"


def test_a_reference_to_no_connection_fails_before_anything_is_written(runner, db):
    def missing(_):
        raise ConnectionMissingError(None, "option admin_password_ref names it")

    with pytest.raises(ConnectionMissingError):
        runner(ProvisionFirm(missing), **ACME, admin_password_ref="nothing_there")
    assert what_is_there(db, "acme-consulting") == {}


def test_killed_anywhere_it_leaves_nothing_or_everything_and_the_next_run_completes(runner, db):
    """SIGKILL before every single exchange with the database."""
    everything = nothing = 0
    for exchange in range(1, 200):
        slug = f"firm-{exchange}"
        request = {"slug": slug, "name": f"Firm {exchange}", "admin_email": f"admin{exchange}@acme.example"}
        killed = run_killed(lambda request=request: provision(runner, **request), before=exchange)
        there = what_is_there(db, slug)
        assert there in ({}, EVERYTHING), exchange
        everything += there == EVERYTHING
        nothing += there == {}
        log = rows(
            db, "SELECT status FROM firm_provisioning_log WHERE provisioning_config ->> 'slug' = %s", slug
        )
        assert log in ([], [("in_progress",)]) if there == {} else log == [("completed",)], exchange
        if not killed:
            break
        let_leases_expire(runner)
        provision(runner, **request)
        assert what_is_there(db, slug) == EVERYTHING, exchange
        invitations = "SELECT count(*) FROM cp_ops.invitation WHERE firm_id = %s"
        assert one(db, invitations, firm_id(db, slug)) == (1,), exchange
        states = rows(
            db,
            "SELECT status FROM firm_provisioning_log WHERE provisioning_config ->> 'slug' = %s ORDER BY id",
            slug,
        )
        assert states in ([("completed",)], [("rolled_back",), ("completed",)]), exchange
    else:
        pytest.fail("the job never got through")
    assert nothing > 20
    assert everything == 2, "killed after the commit, and not at all"


def test_two_runs_of_one_slug_make_one_firm(runner, db):
    errors = []

    def run():
        try:
            provision(runner)
        except AlreadyRunningError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert what_is_there(db, "acme-consulting") == EVERYTHING
    assert one(db, "SELECT count(*) FROM cp_ops.invitation") == (1,)


def test_two_slugs_with_one_address_at_once_make_one_account(runner, db):
    failures = []

    def run(slug):
        try:
            provision(runner, slug=slug, name=slug)
        except Exception as error:  # noqa: BLE001 - whichever comes second
            failures.append(type(error).__name__)

    threads = [threading.Thread(target=run, args=(f"firm-{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 1
    assert failures[0] in ("OptionsError", "DatabaseConflictError")
    assert one(db, "SELECT count(*) FROM auth_user") == (1,)
    assert one(db, "SELECT count(*) FROM firm_firm") == (1,)


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
