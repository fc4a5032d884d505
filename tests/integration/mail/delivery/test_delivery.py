"""The outbox's mails, delivered to a real SMTP server: each once, as it was decided, whatever is cut off."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from cp_ops.mail.delivery.job import BATCH, DeliverMail
from cp_ops.mail.delivery.message import compose
from cp_ops.mail.delivery.sending import POLICY
from cp_ops.runtime import outbox
from cp_ops.runtime.database import Transaction
from cp_ops.runtime.errors import (
    AlreadyRunningError,
)
from cp_ops.runtime.outcome import Outcome
from sandbox.application import REPOSITORY
from tests.integration.mail.delivery.conftest import SENDER, accepted, later

SPACING = POLICY.spacing
CLAIM_SECONDS = POLICY.claim_seconds


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
