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
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from cp_ops.mail.delivery.options import DeliverMailOptions
from cp_ops.mail.delivery.server import MailingDeferredError, MailingRefusedError
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import (
    RemoteConnectionLostError,
    RemoteRefusedError,
    RemoteUnavailableError,
    RowFailedError,
    SettingError,
)
from cp_ops.runtime.findings import Finding, Severity
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.outbox import INVITATION_TOKEN
from cp_ops.runtime.plan import Action, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from cp_ops.mail.delivery.server import MailConnection, MailServer

BATCH = 100
"""Mails per SMTP connection."""
CLAIM_SECONDS = 900
"""How long a claimed mail belongs to its delivery: longer than a batch takes at any server's pace."""
SPACING = (300, 900, 3_600, 14_400, 43_200)
"""Seconds until the next attempt after a temporary refusal; after the last one the mail is given up."""
GIVEN_UP_WITHIN = timedelta(days=30)
"""How far back option `redeliver` reaches."""
NOT_DELIVERED = "mail_not_delivered"
REASONS = {"pending": "is due", "sending": "was cut off in its delivery", "failed": "was given up"}


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
            f"{mail.kind} {REASONS[mail.state]}",
            mail.firm_id,
            data={"id": mail.id},
        )
        for mail in mails
    )


class DeliverMail(Job[DeliverMailOptions]):
    """Deliver the outbox, then forget addresses and texts of mails that were sent long ago."""

    command = "cp_ops_deliver_mail"
    statements = "mail/delivery"
    options = DeliverMailOptions

    def __init__(self, server: MailServer) -> None:
        self._server = server

    def run(self, run: JobRun, options: DeliverMailOptions) -> None:
        """Send due mails in batches; a server that cannot be reached, or takes none from us, leaves them due."""
        given_up_since = run.now - GIVEN_UP_WITHIN if options.redeliver else None
        with run.read() as tx:
            due = tx.rows(
                "due_mails",
                DueMail,
                now=run.now,
                given_up_since=given_up_since,
                max_mails=options.max_mails,
            )
        plan = plan_delivery(due)
        if run.accept(plan):
            _check_sender(run.settings.default_from_email)
            ids = [action.data["id"] for action in plan.actions]
            for start in range(0, len(ids), BATCH):
                self._deliver(run, ids[start : start + BATCH], given_up_since)
        if not run.dry_run:
            self._forget(run)

    def _deliver(self, run: JobRun, ids: list[Any], given_up_since: datetime | None) -> None:
        with run.write() as tx:
            claimed = tx.rows(
                "claim_mails",
                command=run.command,
                ids=ids,
                now=run.now,
                given_up_since=given_up_since,
                seconds=CLAIM_SECONDS,
            )
        run.skip("claimed by another delivery", len(ids) - len(claimed))
        claimed.sort(key=lambda mail: mail["id"])
        waiting = [mail["id"] for mail in claimed]
        try:
            with self._server.connect() as connection:
                for mail in claimed:
                    waiting.remove(mail["id"])
                    try:
                        self._send(run, connection, mail)
                    except (MailingRefusedError, MailingDeferredError):
                        waiting.append(mail["id"])
                        raise
        except RemoteConnectionLostError:
            run.skip("connection lost, stays due", len(waiting))
        finally:
            if waiting:
                with run.write() as tx:
                    tx.execute("release_mails", ids=waiting)

    def _send(self, run: JobRun, connection: MailConnection, mail: Mapping[str, Any]) -> None:
        try:
            message = compose(self._with_link(run, mail), run.now, sender=run.settings.default_from_email)
        except (ValueError, LookupError) as error:
            self._give_up(
                run, mail, RowFailedError(f"no mail can be made of this row ({type(error).__name__})")
            )
            return
        run.remote_call()
        try:
            connection.send(message, mail["recipient"])
        except (MailingRefusedError, MailingDeferredError):
            raise
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
            self._conclude(run, mail, "mail_sent")
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
            NOT_DELIVERED,
            _subject(mail),
            Severity.WARNING,
            "See the row's last_error. When the cause is gone, run cp_ops_deliver_mail with redeliver, within 30 days."
            " A wrong address: correct it in the application for the mails to come; this one keeps its address",
            mail["firm_id"],
            {"kind": mail["kind"], "attempts": mail["attempts"]},
        )
        self._conclude(run, mail, "mail_failed", finding, error=str(error))
        run.fail(finding.subject, error)

    def _conclude(
        self, run: JobRun, mail: Mapping[str, Any], statement: str, *found: Finding, **values: Any
    ) -> None:
        """Record a mail's end and, with it, open its finding, or resolve the one that it has."""
        firm_ids = [mail["firm_id"]] if mail["firm_id"] else []
        settled = None
        with run.write(next(iter(run.tenants(firm_ids)), None)) as tx:
            tx.execute(statement, id=mail["id"], **values)
            if found or mail["has_finding"]:
                with run.findings(tx) as ledger:
                    ledger.saw(found)
                    settled = ledger.settle(
                        kinds=[NOT_DELIVERED],
                        firm_ids=firm_ids,
                        subjects=[_subject(mail)],
                        category=Category.SYSTEM,
                    )
        if settled is not None:
            run.count_findings(settled)

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


def _subject(mail: Mapping[str, Any]) -> str:
    return f"cp_ops.mail:{mail['id']}"


def _check_sender(sender: str) -> None:
    """Refuse a sender that no mail can be made with, before it is taken for a fault of every row.

    :raises SettingError: when it is not one address.
    """
    message = EmailMessage()
    try:
        message["From"] = sender
        addresses = message["From"].addresses
    except (ValueError, LookupError):
        addresses = ()
    if sender and [bool(address.username) for address in addresses] != [True]:
        raise SettingError("default_from_email", "is not one mail address")


def compose(mail: Mapping[str, Any], now: datetime, *, sender: str = "") -> EmailMessage:
    """Build the message of an outbox row; the same row always gets the same Message-ID.

    :param sender: the From address as it is set now, which may correct the one that was set at the mail's decision.
    """
    message = EmailMessage()
    domain = mail["sender"].rsplit("@", 1)[-1].rstrip("> ") or "localhost"
    message["Message-ID"] = f"<cp-ops-{mail['id']}.{mail['created_at']:%Y%m%d%H%M%S}@{domain}>"
    message["Date"] = format_datetime(now)
    message["From"] = sender or mail["sender"]
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
