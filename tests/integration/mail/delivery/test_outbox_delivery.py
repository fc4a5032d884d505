"""The outbox and its delivery, against a real SMTP server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.hooks.mail import SmtpServer
from cp_ops.mail.delivery.job import BATCH, DeliverMail
from cp_ops.mail.delivery.message import compose
from cp_ops.mail.delivery.sending import POLICY
from cp_ops.runtime import outbox
from cp_ops.runtime.database import Transaction
from cp_ops.runtime.errors import (
    AlreadyRunningError,
    RemoteRefusedError,
    RemoteUnavailableError,
    RowsFailedError,
    SettingError,
    Verdict,
)
from cp_ops.runtime.outcome import Outcome
from sandbox.application import REPOSITORY
from sandbox.service import free_port

SPACING = POLICY.spacing
CLAIM_SECONDS = POLICY.claim_seconds
GIVEN_UP_WITHIN = POLICY.given_up_within
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


def test_a_mail_arrives_as_it_was_decided(runner, smtp, server, enqueue, mails):
    attachment = {"name": "Öl.ics", "type": "text/calendar", "content": "QkVHSU4="}
    enqueue(
        "jane@client.example",
        title="Rechnung\r\nfür Öl",
        text="Grüße",
        html="<p>Grüße</p>",
        attachments=[attachment],
    )
    outcome = runner(DeliverMail(server))
    [mail] = smtp.mails()
    message = mail.message
    assert mail.recipients == ("jane@client.example",)
    assert (message["From"], message["To"], message["Subject"]) == (
        SENDER,
        "jane@client.example",
        "Rechnung für Öl",
    )
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_body(("plain",)).get_content().strip() == "Grüße"
    assert message.get_body(("html",)).get_content().strip() == "<p>Grüße</p>"
    [part] = message.iter_attachments()
    assert (part.get_filename(), part.get_content_type(), part.get_content()) == (
        "Öl.ics",
        "text/calendar",
        "BEGIN",
    )
    [row] = mails()
    assert (row["state"], row["attempts"], row["claimed_until"], row["last_error"]) == ("sent", 1, None, "")
    assert (outcome.planned, outcome.done, outcome.remote_calls) == (1, 1, 1)


def test_the_same_mail_decided_twice_is_one_mail(runner, smtp, server, enqueue):
    assert enqueue("jane@client.example", "max@client.example") == 2
    assert enqueue("Jane@Client.example ", "max@client.example", "new@client.example") == 1
    assert enqueue("jane@client.example", step="second") == 1
    runner(DeliverMail(server))
    assert sorted(accepted(smtp)) == sorted(
        ["jane@client.example"] * 2 + ["max@client.example", "new@client.example"]
    )


def test_a_mail_is_decided_together_with_what_it_tells(runner, enqueue, mails):
    """Rolled back with its transaction."""
    with runner.connect() as connection:
        tx = Transaction(connection, "mail/delivery", Outcome("demo", dry_run=False))
        mail = outbox.Mail("demo", "firm:1", "first", "jane@client.example", "Hello", "A line.")
        with connection.transaction(force_rollback=True):
            assert outbox.enqueue(tx, [mail], run_id=1, sender=SENDER) == 1
    assert mails() == []
    assert enqueue("jane@client.example") == 1


def test_the_second_run_sends_nothing_and_writes_only_its_outcome(runner, smtp, server, enqueue, written):
    enqueue("jane@client.example")
    runner(DeliverMail(server))
    before = written()
    outcome = runner(DeliverMail(server))
    assert {table for table, rows in written().items() if rows != before[table]} <= {"cp_ops.job_run"}
    assert (outcome.planned, outcome.remote_calls, server.connections) == (0, 0, 1)
    assert len(smtp.mails()) == 1


def test_a_dry_run_sends_nothing(runner, smtp, server, enqueue, mails):
    enqueue("jane@client.example")
    preview = runner(DeliverMail(server), dry_run=True)
    assert (preview.planned, preview.done, server.connections, smtp.mails()) == (1, 0, 0, [])
    assert mails()[0]["state"] == "pending"


def test_a_batch_takes_one_connection(runner, smtp, server, enqueue):
    enqueue(*(f"person{n}@client.example" for n in range(BATCH + 5)))
    outcome = runner(DeliverMail(server))
    assert (outcome.done, server.connections) == (BATCH + 5, 2)
    assert accepted(smtp) == [f"person{n}@client.example" for n in range(BATCH + 5)]


def test_a_permanent_refusal_is_given_up_with_a_finding_and_the_others_are_sent(
    runner, smtp, server, enqueue, mails
):
    enqueue("a@client.example", "reject-550@client.example", "b@client.example")
    with pytest.raises(
        RowsFailedError, match=r"^1 rows failed, 2 done: cp_ops\.mail:2: recipient refused .* code 550$"
    ) as failed:
        runner(DeliverMail(server))
    assert type(failed.value) is RowsFailedError
    assert accepted(smtp) == ["a@client.example", "b@client.example"]
    assert [mail["state"] for mail in mails()] == ["sent", "failed", "sent"]
    assert "reject-550" not in mails()[1]["last_error"]
    with runner.connect() as connection:
        findings = connection.execute("SELECT kind, subject, details::text FROM cp_ops.finding").fetchall()
    assert findings == [("mail_not_delivered", "cp_ops.mail:2", '{"kind": "demo", "attempts": 1}')]
    assert runner(DeliverMail(server)).planned == 0


def test_a_row_that_no_mail_can_be_made_of_does_not_stop_the_others(runner, smtp, server, enqueue, mails):
    enqueue("a@client.example", "jane\nBcc: all@client.example", "b@client.example")
    with pytest.raises(
        RowsFailedError, match=r"cp_ops\.mail:2: no mail can be made of this row \(ValueError\)$"
    ):
        runner(DeliverMail(server))
    assert accepted(smtp) == ["a@client.example", "b@client.example"]
    assert [mail["state"] for mail in mails()] == ["sent", "failed", "sent"]


def test_a_temporary_refusal_is_tried_again_with_spacing_and_then_given_up(
    runner, smtp, server, enqueue, mails
):
    enqueue("defer-451@client.example")
    for attempt, spacing in enumerate(SPACING, start=1):
        outcome = runner(DeliverMail(server))
        assert outcome.skip_reasons == {"deferred by the mail server": 1}
        [row] = mails()
        assert (row["state"], row["attempts"]) == ("pending", attempt)
        assert abs(row["due_at"] - later(spacing)) < timedelta(seconds=30)
        runner.now = later(spacing - 30)
        assert runner(DeliverMail(server)).planned == 0
        runner.now = later(spacing + 30)
    with pytest.raises(
        RowsFailedError, match=r"cp_ops\.mail:1: given up after 6 attempts: .* code 451$"
    ) as failed:
        runner(DeliverMail(server))
    assert type(failed.value) is RowsFailedError, "what was given up is not worth a retry of the task"
    assert mails()[0]["state"] == "failed"
    runner.now = later(10_000_000)
    assert runner(DeliverMail(server)).planned == 0
    assert smtp.mails() == []


def test_a_connection_that_drops_leaves_the_rest_due(runner, smtp, server, enqueue, mails):
    enqueue("a@client.example", "drop@client.example", "b@client.example", "c@client.example")
    outcome = runner(DeliverMail(server))
    assert outcome.skip_reasons == {"deferred by the mail server": 1, "connection lost, stays due": 2}
    assert accepted(smtp) == ["a@client.example"]
    assert [(mail["state"], mail["attempts"]) for mail in mails()] == [
        ("sent", 1),
        ("pending", 1),
        ("pending", 0),
        ("pending", 0),
    ]
    outcome = runner(DeliverMail(server))
    assert outcome.done == 2
    assert accepted(smtp) == ["a@client.example", "b@client.example", "c@client.example"]


def test_an_answer_that_was_lost_means_the_same_message_again(runner, smtp, server, enqueue):
    """The server has it, the sender cannot know: sent again under the same Message-ID, which mail clients fold."""
    enqueue("lost@client.example")
    runner(DeliverMail(server))
    runner.now = later(SPACING[0] + 30)
    runner(DeliverMail(server))
    first, second = smtp.mails()
    assert first.message["Message-ID"] == second.message["Message-ID"]


KILLED_DELIVERY = """
import os, signal, sys
from contextlib import contextmanager
import psycopg
from cp_ops.hooks.mail import SmtpServer
from cp_ops.mail.delivery.job import DeliverMail
from cp_ops.mail.delivery.options import DeliverMailOptions
from cp_ops.runtime.lease import Identity
from cp_ops.runtime.runner import run_job
from cp_ops.runtime.settings import Settings

class Killing:
    @contextmanager
    def connect(self):
        with SmtpServer("smtp_default").connect() as connection:
            self.connection = connection
            yield self

    def send(self, message, recipient):
        self.connection.send(message, recipient)
        if recipient.startswith("second"):
            os.kill(os.getpid(), signal.SIGKILL)

run_job(DeliverMail(Killing()), DeliverMailOptions(), connect=lambda: psycopg.connect(sys.argv[1], autocommit=True),
        settings=Settings(), identity=Identity("killed"), lease_ttl=1)
"""


def test_a_worker_killed_between_acceptance_and_commit_repeats_that_one_mail_only(
    runner, smtp, server, enqueue, mails
):
    enqueue("first@client.example", "second@client.example", "third@client.example")
    path = os.pathsep.join([str(REPOSITORY / "plugins"), str(REPOSITORY)])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_DELIVERY, runner.dsn],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr.decode()
    assert [mail["state"] for mail in mails()] == ["sent", "sending", "sending"]
    with runner.connect() as connection:
        connection.execute("SELECT pg_sleep(1.2)")
    assert runner(DeliverMail(server)).planned == 0, "claimed mails belong to their delivery for a while"
    runner.now = later(CLAIM_SECONDS + 5)
    assert runner(DeliverMail(server)).done == 2
    assert accepted(smtp) == [f"{n}@client.example" for n in ("first", "second", "second", "third")]
    message_ids = [mail.message["Message-ID"] for mail in smtp.mails()]
    assert message_ids[1] == message_ids[2]
    assert len(set(message_ids)) == 3


def test_deliveries_at_once_send_every_mail_once(runner, smtp, server, enqueue):
    enqueue(*(f"person{n}@client.example" for n in range(40)))

    def deliver(_):
        try:
            return runner(DeliverMail(server)).done
        except AlreadyRunningError:
            return 0

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(deliver, range(4))) == 40
    assert sorted(accepted(smtp)) == sorted(f"person{n}@client.example" for n in range(40))


def test_a_claimed_mail_is_passed_over_by_another_claim(runner, enqueue, mails):
    """Also without the lease: rows are claimed by state, under a lock."""
    enqueue("a@client.example", "b@client.example")
    ids = [mail["id"] for mail in mails()]
    with runner.connect() as one, runner.connect() as other, one.transaction():
        claims = [
            Transaction(connection, "mail/delivery", Outcome("demo", dry_run=False)).rows(
                "claim_mails",
                command=DeliverMail.command,
                ids=wanted,
                now=datetime.now(UTC),
                given_up_since=None,
                seconds=60,
            )
            for connection, wanted in ((one, ids[:1]), (other, ids), (other, ids))
        ]
    assert [[mail["id"] for mail in claim] for claim in claims] == [ids[:1], ids[1:], []]


def test_a_server_that_is_down_leaves_every_mail_due(runner, smtp, enqueue, mails, monkeypatch):
    enqueue("a@client.example", "b@client.example")
    closed = smtp.connection() | {"port": free_port()}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(closed))
    with pytest.raises(RemoteUnavailableError, match="connection smtp_default: "):
        runner(DeliverMail(SmtpServer()))
    assert [(mail["state"], mail["attempts"]) for mail in mails()] == [("pending", 0)] * 2
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(smtp.connection()))
    assert runner(DeliverMail(SmtpServer())).done == 2


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_connection_without_login_stops_the_run_and_every_mail_is_sent_once_it_has_one(
    runner, start_relay, enqueue, mails, findings, monkeypatch
):
    relay = start_relay(
        auth_required=True,
        auth_require_tls=False,
        authenticator=lambda *login: AuthResult(success=login[-1].password == b"right", handled=False),
    )
    recipients = [f"person{n}@client.example" for n in range(BATCH + 5)]
    enqueue(*recipients)
    with pytest.raises(
        RemoteRefusedError,
        match=r"^connection smtp_default: .* answers MAIL FROM with code 530: check its login",
    ) as refused:
        runner(DeliverMail(SmtpServer()))
    assert refused.value.verdict is Verdict.FAIL
    monkeypatch.setenv(
        "AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(relay.connection | {"login": "us", "password": "wrong"})
    )
    with pytest.raises(
        RemoteRefusedError,
        match=r"^connection smtp_default: .* answers the log-in with code 535: check its login",
    ):
        runner(DeliverMail(SmtpServer()))
    states = {
        (mail["state"], mail["attempts"], mail["claimed_until"], mail["last_error"]) for mail in mails()
    }
    assert states == {("pending", 0, None, "")}
    assert (runner.last.failed, findings()) == (0, [])
    monkeypatch.setenv(
        "AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(relay.connection | {"login": "us", "password": "right"})
    )
    assert runner(DeliverMail(SmtpServer())).done == BATCH + 5
    assert relay.recipients == recipients


@pytest.mark.parametrize(
    ("step", "reply"),
    [
        ("MAIL", "530 5.7.0 Must issue a STARTTLS command first"),
        ("MAIL", "550 5.7.1 sender not verified"),
        ("MAIL", "553 5.7.1 sender not owned by user"),
        ("MAIL", "554 5.7.1 access denied"),
        ("RCPT", "530 5.7.0 Authentication required"),
        ("RCPT", "538 5.7.11 Encryption required"),
        ("DATA", "535 5.7.8 credentials invalid"),
    ],
)
def test_a_refusal_that_concerns_every_mail_stops_the_run_at_the_first_one_and_counts_no_attempt(
    runner, start_relay, enqueue, mails, findings, step, reply
):
    relay = start_relay()
    relay.replies[step] = reply
    enqueue("a@client.example", "b@client.example")
    with pytest.raises(
        RemoteRefusedError, match=f"connection smtp_default: .* with code {reply[:3]}: "
    ) as refused:
        runner(DeliverMail(SmtpServer()))
    assert "client.example" not in str(refused.value)
    assert runner.last.remote_calls == 1
    assert [(mail["state"], mail["attempts"]) for mail in mails()] == [("pending", 0)] * 2
    assert findings() == []
    relay.replies.clear()
    assert runner(DeliverMail(SmtpServer())).done == 2
    assert [mail["attempts"] for mail in mails()] == [1, 1]


@pytest.mark.parametrize("reply", ["421 4.7.0 try again later", "451 4.7.1 greylisted", "452 4.3.1 no space"])
def test_a_server_that_takes_no_mail_now_leaves_every_mail_due_and_the_task_is_retried(
    runner, start_relay, enqueue, mails, reply
):
    relay = start_relay()
    relay.replies["MAIL"] = reply
    enqueue("a@client.example", "b@client.example")
    with pytest.raises(
        RemoteUnavailableError, match=f"connection smtp_default: .* MAIL FROM with code {reply[:3]}$"
    ) as deferred:
        runner(DeliverMail(SmtpServer()))
    assert deferred.value.verdict is Verdict.RETRY
    assert [(mail["state"], mail["attempts"]) for mail in mails()] == [("pending", 0)] * 2
    relay.replies.clear()
    assert runner(DeliverMail(SmtpServer())).done == 2


def test_what_was_sent_before_the_server_refused_stays_sent(runner, start_relay, enqueue, mails):
    relay = start_relay()
    enqueue("a@client.example", "b@client.example", "c@client.example")
    relay.replies["b@client.example"] = "530 5.7.0 Authentication required"
    with pytest.raises(RemoteRefusedError, match="code 530"):
        runner(DeliverMail(SmtpServer()))
    assert [(mail["state"], mail["attempts"]) for mail in mails()] == [
        ("sent", 1),
        ("pending", 0),
        ("pending", 0),
    ]
    relay.replies.clear()
    runner(DeliverMail(SmtpServer()))
    assert relay.recipients == ["a@client.example", "b@client.example", "c@client.example"]


def test_a_sender_that_was_refused_is_replaced_by_the_corrected_setting(runner, start_relay, enqueue, mails):
    """The mails that wait carry the sender of their decision; a Message-ID stays what it was."""
    relay = start_relay()
    relay.replies["MAIL"] = "550 5.7.1 sender not verified"
    enqueue("a@client.example")
    wrong = runner.with_settings(default_from_email="Billing <billing@unverified.example>")
    with pytest.raises(RemoteRefusedError, match=r"code 550: .* \[cp_ops\] default_from_email"):
        wrong(DeliverMail(SmtpServer()))
    relay.replies.clear()
    corrected = runner.with_settings(default_from_email="Billing <billing@verified.example>")
    assert corrected(DeliverMail(SmtpServer())).done == 1
    assert relay.senders == ["billing@verified.example"]
    [row] = mails()
    assert row["sender"] == SENDER
    first, second = (compose(row, later(0), sender=sender) for sender in ("", "x@verified.example"))
    assert (first["From"], second["From"]) == (SENDER, "x@verified.example")
    assert first["Message-ID"] == second["Message-ID"]


@pytest.mark.parametrize(
    "sender", ["us@firm.example\nBcc: all@firm.example", "a@b.example, c@d.example", "<>"]
)
def test_a_sender_that_is_not_one_address_stops_the_run(runner, server, enqueue, mails, sender):
    enqueue("a@client.example")
    with pytest.raises(SettingError, match=r"^\[cp_ops\] default_from_email: is not one mail address"):
        runner.with_settings(default_from_email=sender)(DeliverMail(server))
    assert [(mail["state"], mail["attempts"]) for mail in mails()] == [("pending", 0)]
    assert server.connections == 0


@pytest.mark.parametrize(
    ("settings", "recipient", "text", "error"),
    [
        ({"data_size_limit": 10_000}, "b@client.example", "x" * 20_000, "mail refused .* code 552"),
        ({"enable_SMTPUTF8": False}, "jö@client.example", "A line.", "outside ASCII"),
    ],
)
def test_a_mail_that_this_server_cannot_take_does_not_stop_the_others(
    runner, start_relay, enqueue, mails, settings, recipient, text, error
):
    relay = start_relay(**settings)
    enqueue("a@client.example")
    enqueue(recipient, text=text)
    enqueue("c@client.example")
    with pytest.raises(RowsFailedError, match=rf"^1 rows failed, 2 done: cp_ops\.mail:2: .*{error}"):
        runner(DeliverMail(SmtpServer()))
    assert relay.recipients == ["a@client.example", "c@client.example"]
    assert [(mail["state"], mail["attempts"]) for mail in mails()] == [
        ("sent", 1),
        ("failed", 1),
        ("sent", 1),
    ]


def test_a_sender_outside_ascii_that_this_server_cannot_take_stops_the_run(
    runner, start_relay, enqueue, mails
):
    start_relay(enable_SMTPUTF8=False)
    enqueue("a@client.example")
    with pytest.raises(RemoteRefusedError, match=r"connection smtp_default: .* sender .* outside ASCII"):
        runner.with_settings(default_from_email="öl@firm.example")(DeliverMail(SmtpServer()))
    assert [(mail["state"], mail["attempts"]) for mail in mails()] == [("pending", 0)]


# -- what was given up -----------------------------------------------------------------------------------------------


@pytest.fixture
def given_up(start_relay, runner, enqueue):
    """A relay that has refused the contents of one mail of two, and takes everything from now on."""
    relay = start_relay()
    relay.replies["b@client.example"] = "554 5.7.1 looks like spam"
    enqueue("a@client.example", "b@client.example")
    with pytest.raises(
        RowsFailedError, match=r"^1 rows failed, 1 done: cp_ops\.mail:2: mail refused .* code 554$"
    ):
        runner(DeliverMail(SmtpServer()))
    relay.replies.clear()
    return relay


def test_what_was_given_up_is_sent_on_request_and_its_finding_is_resolved(
    runner, given_up, mails, findings, written
):
    assert findings() == [("cp_ops.mail:2", True)]
    assert runner(DeliverMail(SmtpServer())).planned == 0
    preview = runner(DeliverMail(SmtpServer()), redeliver=True, dry_run=True)
    assert (preview.planned, mails()[1]["state"]) == (1, "failed")
    outcome = runner(DeliverMail(SmtpServer()), redeliver=True)
    assert (outcome.done, outcome.findings.resolved, outcome.plan_sha256) == (1, 1, preview.plan_sha256)
    assert given_up.recipients == ["a@client.example", "b@client.example"]
    row = mails()[1]
    assert (row["state"], row["attempts"], row["last_error"]) == ("sent", 1, "")
    assert findings() == [("cp_ops.mail:2", False)]
    before = written()
    assert runner(DeliverMail(SmtpServer()), redeliver=True).planned == 0
    assert {table for table, rows in written().items() if rows != before[table]} <= {"cp_ops.job_run"}


def test_the_finding_of_a_firms_mail_is_resolved_too_also_under_row_level_security(
    world, start_relay, enqueue, findings, enable_row_level_security
):
    firm, other = world.firm(), world.firm()
    enqueue("a@client.example", firm_id=firm.id)
    enqueue("b@client.example", firm_id=other.id)
    under_policy = enable_row_level_security()
    relay = start_relay()
    relay.replies["DATA"] = "554 5.6.0 no"
    with pytest.raises(RowsFailedError, match=r"^2 rows failed"):
        under_policy(DeliverMail(SmtpServer()))
    assert findings() == [("cp_ops.mail:1", True), ("cp_ops.mail:2", True)]
    relay.replies.clear()
    relay.replies["a@client.example"] = "554 5.6.0 no"
    with pytest.raises(RowsFailedError, match=r"^1 rows failed, 1 done"):
        under_policy(DeliverMail(SmtpServer()), redeliver=True)
    assert findings() == [("cp_ops.mail:1", True), ("cp_ops.mail:2", False)]


def test_what_is_taken_up_again_and_refused_for_now_is_tried_like_a_new_mail(
    runner, given_up, mails, findings
):
    given_up.replies["b@client.example"] = "451 4.7.1 later"
    assert runner(DeliverMail(SmtpServer()), redeliver=True).skip_reasons == {
        "deferred by the mail server": 1
    }
    assert (mails()[1]["state"], mails()[1]["attempts"]) == ("pending", 1)
    assert findings() == [("cp_ops.mail:2", True)], "not delivered yet"
    given_up.replies.clear()
    runner.now = later(SPACING[0] + 30)
    assert runner(DeliverMail(SmtpServer())).done == 1
    assert findings() == [("cp_ops.mail:2", False)]


def test_a_run_that_the_server_stops_leaves_what_was_given_up_due(runner, given_up, mails):
    given_up.replies["MAIL"] = "530 5.7.0 Authentication required"
    with pytest.raises(RemoteRefusedError, match="code 530"):
        runner(DeliverMail(SmtpServer()), redeliver=True)
    assert (mails()[1]["state"], mails()[1]["attempts"]) == ("pending", 0)
    given_up.replies.clear()
    assert runner(DeliverMail(SmtpServer())).done == 1


def test_what_was_given_up_long_ago_or_is_forgotten_is_not_taken_up(runner, given_up, mails):
    keeping = runner.with_settings(mail_retention_days=400)
    keeping.now = later(GIVEN_UP_WITHIN.total_seconds() + 60)
    assert keeping(DeliverMail(SmtpServer()), redeliver=True).planned == 0
    keeping.now = later(GIVEN_UP_WITHIN.total_seconds() - 60)
    assert keeping(DeliverMail(SmtpServer()), redeliver=True, dry_run=True).planned == 1
    forgetful = runner.with_settings(mail_retention_days=7)
    forgetful.now = later(8 * 86_400)
    forgetful(DeliverMail(SmtpServer()))
    assert mails()[1]["forgotten_at"] is not None
    assert forgetful(DeliverMail(SmtpServer()), redeliver=True).planned == 0
    assert given_up.recipients == ["a@client.example"]


def test_the_time_of_a_mail_that_was_given_up_counts_from_giving_it_up(runner, start_relay, enqueue, mails):
    """A mail that waited for its server longer than the retention can still be taken up again."""
    relay = start_relay()
    enqueue("a@client.example")
    with runner.connect() as connection:
        connection.execute("UPDATE cp_ops.mail SET due_at = now() - interval '90 days'")
    relay.replies["DATA"] = "554 5.6.0 no"
    with pytest.raises(RowsFailedError):
        runner(DeliverMail(SmtpServer()))
    relay.replies.clear()
    assert runner(DeliverMail(SmtpServer()), redeliver=True).done == 1
    assert relay.recipients == ["a@client.example"]


def test_address_and_text_are_forgotten_and_the_key_still_keeps_it_from_being_sent_again(
    runner, smtp, server, enqueue, mails
):
    enqueue("jane@client.example", html="<p>Jane</p>")
    forgetful = runner.with_settings(mail_retention_days=7)
    forgetful(DeliverMail(server))
    forgetful.now = later(6.9 * 86_400)
    forgetful(DeliverMail(server))
    assert mails()[0]["recipient"] == "jane@client.example"
    forgetful.now = later(7.1 * 86_400)
    outcome = forgetful(DeliverMail(server))
    [row] = mails()
    assert outcome.numbers == {"forgotten": 1}
    assert (row["recipient"], row["title"], row["body_text"], row["body_html"], row["attachments"]) == (
        "",
        "",
        "",
        "",
        [],
    )
    assert row["forgotten_at"] is not None
    assert "jane" not in str(row).lower()
    assert enqueue("jane@client.example") == 0
    assert len(smtp.mails()) == 1


@given(
    key=st.integers(1, 10**12),
    sender=st.sampled_from([SENDER, "billing@firm.example", "Öl & Gas <öl@firm.example>"]),
    title=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)
def test_the_message_id_depends_on_the_row_alone(key, sender, title):
    row = {
        "id": key,
        "sender": sender,
        "recipient": "a@client.example",
        "title": title,
        "body_text": "A line.",
        "body_html": "",
        "attachments": [],
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    first, again = (
        compose(row, datetime(2026, 1, 2, tzinfo=UTC)),
        compose(row, datetime(2026, 5, 2, tzinfo=UTC)),
    )
    assert first["Message-ID"] == again["Message-ID"]
    assert first["Message-ID"].startswith(f"<cp-ops-{key}.20260101000000@")
    assert "\n" not in first["Subject"]
