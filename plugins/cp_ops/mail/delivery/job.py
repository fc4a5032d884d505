"""cp_ops_deliver_mail: send what the outbox holds, and forget addresses and texts of mails that were sent long ago."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cp_ops.mail.delivery.message import check_sender
from cp_ops.mail.delivery.options import DeliverMailOptions
from cp_ops.mail.delivery.plan import DueMail, SendMail, plan_delivery
from cp_ops.mail.delivery.sending import POLICY, MailOutbox
from cp_ops.runtime.deliveries import claim, deliver, ids_of
from cp_ops.runtime.job import Job, JobRun

if TYPE_CHECKING:
    from datetime import datetime

    from cp_ops.mail.delivery.server import MailServer

BATCH = 100
"""Mails per SMTP connection."""


class DeliverMail(Job[DeliverMailOptions]):
    """Deliver the outbox, then forget addresses and texts of mails that were sent long ago."""

    command = "cp_ops_deliver_mail"
    statements = "mail/delivery"
    options = DeliverMailOptions

    def __init__(self, server: MailServer) -> None:
        self._server = server

    def run(self, run: JobRun, options: DeliverMailOptions) -> None:
        """Send due mails in batches; a server that cannot be reached, or takes none from us, leaves them due."""
        given_up_since = POLICY.given_up_since(run.now, redeliver=options.redeliver)
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
            check_sender(run.settings.default_from_email)
            ids = [action.payload(SendMail).id for action in plan.actions]
            for start in range(0, len(ids), BATCH):
                self._deliver(run, ids[start : start + BATCH], given_up_since)
        if not run.dry_run:
            self._forget(run)

    def _deliver(self, run: JobRun, ids: list[int], given_up_since: datetime | None) -> None:
        """Deliver one batch over one connection; what was not tried is due again at once, with no attempt counted."""
        untried = claim(
            run, POLICY, "claim_mails", command=run.command, ids=ids, given_up_since=given_up_since
        )
        run.skip("claimed by another delivery", len(ids) - len(untried))
        try:
            with self._server.connect() as connection:
                deliver(MailOutbox(run, connection), untried)
            run.skip("connection lost, stays due", len(untried))
        finally:
            if untried:
                with run.write() as tx:
                    tx.execute("release_mails", ids=ids_of(untried))

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
