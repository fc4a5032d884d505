"""What a mail server may answer: of one mail, or of every mail."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from aiosmtpd.smtp import AuthResult

from cp_ops.hooks.mail import SmtpServer
from cp_ops.mail.delivery.job import BATCH, DeliverMail
from cp_ops.mail.delivery.message import compose
from cp_ops.mail.delivery.sending import POLICY
from cp_ops.runtime.errors import (
    RemoteRefusedError,
    RemoteUnavailableError,
    RowsFailedError,
    SettingError,
    Verdict,
)
from sandbox.service import free_port
from tests.integration.mail.delivery.conftest import SENDER, accepted, later

SPACING = POLICY.spacing


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
