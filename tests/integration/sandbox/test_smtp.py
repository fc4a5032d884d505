from __future__ import annotations

import json
import smtplib
from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest

from sandbox.services.smtp import SmtpServer

if TYPE_CHECKING:
    from pathlib import Path


def send(server: SmtpServer, *recipients: str, text: str = "Grüße") -> dict[str, tuple[int, bytes]]:
    message = EmailMessage()
    message["From"] = "billing@consultantpro.example"
    message["To"] = recipients[0]
    message["Subject"] = "Rechnung für Öl"
    message.set_content(text)
    with smtplib.SMTP(server.host, server.port, timeout=5) as client:
        return client.send_message(message, to_addrs=list(recipients))


def test_accepted_mails_are_kept_in_order_with_their_envelope(smtp: SmtpServer) -> None:
    send(smtp, "first@client.example", "hidden@client.example")
    send(smtp, "second@client.example", text="zweite")
    first, second = smtp.mails()
    assert first.recipients == ("first@client.example", "hidden@client.example")
    assert first.mail_from == "billing@consultantpro.example"
    assert first.message["Subject"] == "Rechnung für Öl"
    assert first.message.get_content().strip() == "Grüße"
    assert second.number == first.number + 1
    smtp.clear()
    assert smtp.mails() == []


def test_a_refused_recipient_gets_nothing_and_the_others_do(smtp: SmtpServer) -> None:
    refused = send(smtp, "good@client.example", "reject-550@client.example", "defer-451.x@client.example")
    assert {recipient: code for recipient, (code, _) in refused.items()} == {
        "reject-550@client.example": 550,
        "defer-451.x@client.example": 451,
    }
    assert [mail.recipients for mail in smtp.mails()] == [("good@client.example",)]


def test_a_cut_connection_keeps_nothing(smtp: SmtpServer) -> None:
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(smtp, "drop@client.example")
    assert smtp.mails() == []
    assert send(smtp, "next@client.example") == {}


def test_a_lost_answer_keeps_the_mail(smtp: SmtpServer) -> None:
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(smtp, "lost@client.example")
    assert [mail.recipients for mail in smtp.mails()] == [("lost@client.example",)]


def test_mails_survive_a_restart(tmp_path: Path) -> None:
    server = SmtpServer(tmp_path, dies_with_parent=True)
    with server:
        send(server, "a@client.example")
    with server:
        send(server, "b@client.example")
        assert [mail.number for mail in server.mails()] == [1, 2]


def test_airflows_hook_sends_through_the_connection(
    smtp: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(smtp.connection()))
    with SmtpHook(smtp_conn_id="smtp_default") as hook:
        hook.send_email_smtp(to="client@client.example", subject="Hello", html_content="<p>Hello</p>")
    assert [mail.message["Subject"] for mail in smtp.mails()] == ["Hello"]
