"""Send what the outbox holds: one SMTP connection per batch, one recipient per mail, the row's id in the Message-ID.

Delivery is at least once by SMTP's nature: a worker killed between the server's acceptance and the row's commit sends
that one mail again, with the same Message-ID, which mail servers and clients fold into one. Each result commits at
once, so the window is one mail.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field

from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import (
    RemoteConnectionLostError,
    RemoteRefusedError,
    RemoteUnavailableError,
    RowFailedError,
)
from cp_ops.runtime.findings import Finding, Severity
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.options import JobOptions
from cp_ops.runtime.outbox import INVITATION_TOKEN
from cp_ops.runtime.plan import Action, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

BATCH = 100
"""Mails per SMTP connection."""
CLAIM_SECONDS = 900
"""How long a claimed mail belongs to its delivery: longer than a batch takes at any server's pace."""
SPACING = (300, 900, 3_600, 14_400, 43_200)
"""Seconds until the next attempt after a temporary refusal; after the last one the mail is given up."""


class MailConnection(Protocol):
    """An open connection to a mail server."""

    def send(self, message: EmailMessage, recipient: str) -> None:
        """Hand over one mail.

        :raises RemoteRefusedError: the server will never accept it (5xx).
        :raises RemoteConnectionLostError: the connection is gone.
        :raises RemoteUnavailableError: not now (4xx).
        """


class MailServer(Protocol):
    """Where mails are handed over."""

    def connect(self) -> AbstractContextManager[MailConnection]:
        """Open a connection for one batch."""


class DeliverMailOptions(JobOptions):
    """Options of cp_ops_deliver_mail."""

    max_mails: int = Field(
        default=1_000, gt=0, le=10_000, title="At most", description="Most mails that one run sends."
    )


@dataclass(frozen=True)
class DueMail:
    """A mail that is due, without address or text."""

    id: int
    firm_id: int | None
    kind: str
    state: str


def plan_delivery(mails: Iterable[DueMail]) -> Plan:
    """Plan one action per due mail. Pure."""
    return Plan.of(
        Action(
            "send",
            f"cp_ops.mail:{mail.id}",
            f"{mail.kind} is due" if mail.state == "pending" else f"{mail.kind}: its delivery was cut off",
            mail.firm_id,
            data={"id": mail.id},
        )
        for mail in mails
    )


class DeliverMail(Job[DeliverMailOptions]):
    """Deliver the outbox, then forget addresses and texts of mails that were sent long ago."""

    command = "cp_ops_deliver_mail"
    domain = "mail"
    options = DeliverMailOptions

    def __init__(self, server: MailServer) -> None:
        self._server = server

    def run(self, run: JobRun, options: DeliverMailOptions) -> None:
        """Send due mails in batches; a server that cannot be reached leaves them due."""
        with run.read() as tx:
            due = tx.rows("due_mails", DueMail, now=run.now, max_mails=options.max_mails)
        plan = plan_delivery(due)
        if run.accept(plan):
            for start in range(0, len(plan.actions), BATCH):
                self._deliver(run, [action.data["id"] for action in plan.actions[start : start + BATCH]])
        if not run.dry_run:
            self._forget(run)

    def _deliver(self, run: JobRun, ids: list[Any]) -> None:
        with run.write() as tx:
            claimed = tx.rows("claim_mails", ids=ids, now=run.now, seconds=CLAIM_SECONDS)
        run.skip("claimed by another delivery", len(ids) - len(claimed))
        claimed.sort(key=lambda mail: mail["id"])
        waiting = [mail["id"] for mail in claimed]
        try:
            with self._server.connect() as connection:
                for mail in claimed:
                    waiting.remove(mail["id"])
                    self._send(run, connection, mail)
        except RemoteConnectionLostError:
            run.skip("connection lost, stays due", len(waiting))
        finally:
            if waiting:
                with run.write() as tx:
                    tx.execute("release_mails", ids=waiting)

    def _send(self, run: JobRun, connection: MailConnection, mail: Mapping[str, Any]) -> None:
        try:
            message = compose(self._with_link(run, mail), run.now)
        except (ValueError, LookupError) as error:
            self._give_up(
                run, mail, RowFailedError(f"no mail can be made of this row ({type(error).__name__})")
            )
            return
        run.remote_call()
        try:
            connection.send(message, mail["recipient"])
        except RemoteRefusedError as error:
            self._give_up(run, mail, error)
        except RemoteUnavailableError as error:
            if mail["attempts"] > len(SPACING):
                self._give_up(
                    run, mail, RowFailedError(f"given up after {mail['attempts']} attempts: {error}")
                )
                if isinstance(error, RemoteConnectionLostError):
                    raise
                return
            with run.write() as tx:
                seconds = SPACING[mail["attempts"] - 1]
                tx.execute("mail_deferred", id=mail["id"], seconds=seconds, error=str(error))
            run.skip("deferred by the mail server")
            if isinstance(error, RemoteConnectionLostError):
                raise
        else:
            with run.write() as tx:
                tx.execute("mail_sent", id=mail["id"])
            run.done("send", 1, mail["firm_id"])

    def _with_link(self, run: JobRun, mail: Mapping[str, Any]) -> Mapping[str, Any]:
        """Put a fresh token in its place in an invitation; a second attempt makes a new one, the newest one counts."""
        if mail["invitation_id"] is None:
            return mail
        token = secrets.token_urlsafe(32)
        with run.write() as tx:
            tx.execute(
                "renew_invitation",
                id=mail["invitation_id"],
                token_sha256=hashlib.sha256(token.encode()).digest(),
            )
        texts = {name: mail[name].replace(INVITATION_TOKEN, token) for name in ("body_text", "body_html")}
        return {**mail, **texts}

    def _give_up(self, run: JobRun, mail: Mapping[str, Any], error: Exception) -> None:
        finding = Finding(
            "mail_not_delivered",
            f"cp_ops.mail:{mail['id']}",
            Severity.WARNING,
            "Correct the recipient's address in the application, then let the command mail again",
            mail["firm_id"],
            {"kind": mail["kind"], "attempts": mail["attempts"]},
        )
        tenant = next(iter(run.tenants([mail["firm_id"]])), None) if mail["firm_id"] else None
        with run.write(tenant) as tx:
            tx.execute("mail_failed", id=mail["id"], error=str(error))
            with run.findings(tx) as ledger:
                ledger.saw([finding])
                settled = ledger.settle(
                    kinds=[finding.kind], firm_ids=[], subjects=[finding.subject], category=Category.SYSTEM
                )
        run.count_findings(settled)
        run.fail(finding.subject, error)

    def _forget(self, run: JobRun) -> None:
        forgotten = 0
        while True:
            with run.write() as tx:
                batch = tx.execute("forget_mails", now=run.now, days=run.settings.mail_retention_days)
            forgotten += batch
            if not batch:
                break
        if forgotten:
            run.note("forgotten", forgotten)


def compose(mail: Mapping[str, Any], now: datetime) -> EmailMessage:
    """Build the message of an outbox row; the same row always gets the same Message-ID."""
    message = EmailMessage()
    domain = mail["sender"].rsplit("@", 1)[-1].rstrip("> ") or "localhost"
    message["Message-ID"] = f"<cp-ops-{mail['id']}.{mail['created_at']:%Y%m%d%H%M%S}@{domain}>"
    message["Date"] = format_datetime(now)
    message["From"] = mail["sender"]
    message["To"] = mail["recipient"]
    message["Subject"] = " ".join(mail["title"].split())
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail["body_text"])
    if mail["body_html"]:
        message.add_alternative(mail["body_html"], subtype="html")
    for part in mail["attachments"]:
        kind, _, subtype = part["type"].partition("/")
        message.add_attachment(
            base64.b64decode(part["content"]), maintype=kind, subtype=subtype, filename=part["name"]
        )
    return message
