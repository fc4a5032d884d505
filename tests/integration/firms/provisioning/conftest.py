"""The database, a request for a firm, and what there is of it afterwards."""

from __future__ import annotations

from contextlib import contextmanager
from smtplib import SMTP

import psycopg
import pytest

from cp_ops.firms.provisioning.job import ProvisionFirm

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
