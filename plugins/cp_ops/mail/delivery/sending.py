"""The mail outbox over one connection: what is sent, what is written after each answer, and what stops the run."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

from cp_ops.mail.delivery.message import compose
from cp_ops.mail.delivery.server import MailingDeferredError, MailingRefusedError
from cp_ops.runtime.audit import Category
from cp_ops.runtime.deliveries import DeliveryPolicy
from cp_ops.runtime.errors import RemoteConnectionLostError, RemoteUnavailableError, RowFailedError
from cp_ops.runtime.findings import Finding, Severity
from cp_ops.runtime.outbox import INVITATION_TOKEN

if TYPE_CHECKING:
    from cp_ops.mail.delivery.server import MailConnection
    from cp_ops.runtime.deliveries import Row
    from cp_ops.runtime.errors import CpOpsError
    from cp_ops.runtime.job import JobRun

POLICY = DeliveryPolicy(claim_seconds=900, spacing=(300, 900, 3_600, 14_400, 43_200))
"""A batch takes less than its claim at any server's pace."""
NOT_DELIVERED = "mail_not_delivered"


class MailOutbox:
    """Sends claimed mails, one recipient each. It is the `Outbox` that `deliver` asks for."""

    policy = POLICY
    of_every_row = (MailingRefusedError, MailingDeferredError)

    def __init__(self, run: JobRun, connection: MailConnection) -> None:
        self._run = run
        self._connection = connection

    def attempt(self, row: Row) -> None:
        """Make the message of a row and hand it over."""
        try:
            sender = self._run.settings.default_from_email
            message = compose(self._with_link(row), self._run.now, sender=sender)
        # Such a row would stop every later run at the same place, so it is given up like a mail that nobody takes.
        except (ValueError, LookupError) as error:
            raise RowFailedError(f"no mail can be made of this row ({type(error).__name__})") from None
        self._run.remote_call()
        self._connection.send(message, row["recipient"])

    def delivered(self, row: Row) -> None:
        """Record that the server has accepted a mail; its finding, if it has one, is resolved."""
        self._conclude(row, "mail_sent")
        self._run.done("send", 1, row["firm_id"])

    def put_back(self, row: Row, error: CpOpsError, seconds: int) -> None:
        """Leave a mail for a later attempt."""
        with self._run.write() as tx:
            tx.execute("mail_deferred", id=row["id"], seconds=seconds, error=str(error))
        self._run.skip("deferred by the mail server")

    def give_up(self, row: Row, error: CpOpsError) -> None:
        """Give a mail up, with a finding."""
        reason = error
        if isinstance(error, RemoteUnavailableError):
            # Every single refusal was one that passes. The task must not be retried for it, so it is one that stays.
            reason = RowFailedError(f"given up after {row['attempts']} attempts: {error}")
        finding = Finding(
            NOT_DELIVERED,
            _subject(row),
            Severity.WARNING,
            "See the row's last_error. When the cause is gone, run cp_ops_deliver_mail with redeliver, within 30 days."
            " A wrong address: correct it in the application for the mails to come; this one keeps its address",
            row["firm_id"],
            {"kind": row["kind"], "attempts": row["attempts"]},
        )
        self._conclude(row, "mail_failed", finding, error=str(reason))
        self._run.fail(finding.subject, reason)

    def goes_on(self, error: CpOpsError | None) -> bool:
        """Whether the connection can still be used."""
        return not isinstance(error, RemoteConnectionLostError)

    def _with_link(self, row: Row) -> Row:
        """Put a fresh token in its place in an invitation; a second attempt makes a new one, the newest one counts."""
        if row["invitation_id"] is None:
            return row
        token = secrets.token_urlsafe(32)
        with self._run.write() as tx:
            tx.execute(
                "renew_invitation",
                id=row["invitation_id"],
                token_sha256=hashlib.sha256(token.encode()).digest(),
            )
        texts = {name: row[name].replace(INVITATION_TOKEN, token) for name in ("body_text", "body_html")}
        return {**row, **texts}

    def _conclude(self, row: Row, statement: str, *found: Finding, **values: Any) -> None:
        """Record a mail's end and, with it, open its finding, or resolve the one that it has."""
        run = self._run
        firm_ids = [row["firm_id"]] if row["firm_id"] else []
        settled = None
        # One transaction: no mail that was sent keeps an open finding, and none is given up without one.
        with run.write(next(iter(run.tenants(firm_ids)), None)) as tx:
            tx.execute(statement, id=row["id"], **values)
            if found or row["has_finding"]:
                with run.findings(tx) as ledger:
                    ledger.saw(found)
                    settled = ledger.settle(
                        kinds=[NOT_DELIVERED],
                        firm_ids=firm_ids,
                        subjects=[_subject(row)],
                        category=Category.SYSTEM,
                    )
        if settled is not None:
            run.count_findings(settled)


def _subject(row: Row) -> str:
    return f"cp_ops.mail:{row['id']}"
