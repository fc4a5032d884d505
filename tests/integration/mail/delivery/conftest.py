"""The outbox, a real SMTP server, and one that answers as a test wants."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from aiosmtpd.controller import Controller

from cp_ops.hooks.mail import SmtpServer
from cp_ops.runtime import outbox
from cp_ops.runtime.database import Transaction
from cp_ops.runtime.outcome import Outcome
from sandbox.service import free_port

SENDER = "ConsultantPro <no-reply@consultantpro.example>"


class Counted:
    """The real mail server, counting its connections."""

    def __init__(self):
        self.connections = 0
        self._server = SmtpServer("smtp_default")

    @contextmanager
    def connect(self):
        with self._server.connect() as connection:
            self.connections += 1
            yield connection


@pytest.fixture
def server(smtp, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(smtp.connection()))
    return Counted()


@pytest.fixture
def enqueue(runner):
    """Put mails to these recipients into the outbox; gives how many are new."""

    def put(*recipients, step="first", **columns):
        mails = [
            outbox.Mail("demo", "firm:1", step, to, **{"title": "Hello", "text": "A line."} | columns)
            for to in recipients
        ]
        with runner.connect() as connection, connection.transaction():
            tx = Transaction(connection, "mail/delivery", Outcome("demo", dry_run=False))
            return outbox.enqueue(tx, mails, run_id=1, sender=SENDER)

    return put


@pytest.fixture
def mails(runner):
    """The outbox's rows, oldest first."""

    def read():
        with runner.connect() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            return cursor.execute("SELECT * FROM cp_ops.mail ORDER BY id").fetchall()

    return read


@pytest.fixture
def findings(runner):
    """The findings of undelivered mails, oldest first: subject, and whether it is open."""

    def read():
        with runner.connect() as connection:
            return connection.execute(
                "SELECT subject, resolved_at IS NULL FROM cp_ops.finding WHERE kind = 'mail_not_delivered' ORDER BY id"
            ).fetchall()

    return read


class Relay:
    """aiosmtpd's handler: answers a step (MAIL, RCPT, DATA) as `replies` says, keeps what it accepts."""

    def __init__(self):
        self.replies = {}
        self.senders, self.recipients = [], []

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802  aiosmtpd's name
        if reply := self.replies.get("MAIL"):
            return reply
        envelope.mail_from = address
        return "250 2.1.0 ok"

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802  aiosmtpd's name
        if reply := self.replies.get("RCPT"):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        [recipient] = envelope.rcpt_tos
        if reply := self.replies.get("DATA") or self.replies.get(recipient):
            return reply
        self.senders.append(envelope.mail_from)
        self.recipients.append(recipient)
        return "250 2.0.0 kept"


@pytest.fixture
def start_relay(monkeypatch):
    """Start a mail server of this test's own, with aiosmtpd's settings; connection `smtp_default` points to it."""
    running = []

    def start(**settings):
        relay = Relay()
        controller = Controller(relay, hostname="127.0.0.1", port=free_port(), **settings)
        controller.start()
        running.append(controller)
        relay.connection = {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": controller.port,
            "extra": {"disable_tls": True, "disable_ssl": True, "timeout": 10, "retry_limit": 0},
        }
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(relay.connection))
        return relay

    yield start
    for controller in running:
        controller.stop()


def accepted(smtp):
    return [mail.recipients[0] for mail in smtp.mails()]


def later(seconds):
    return datetime.now(UTC) + timedelta(seconds=seconds)
