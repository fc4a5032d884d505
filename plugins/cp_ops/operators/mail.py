"""Operators of the mail outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.mail.delivery.job import DeliverMail
from cp_ops.operators.base import JobOperator

if TYPE_CHECKING:
    from cp_ops.runtime.settings import Settings


class DeliverMailOperator(JobOperator):
    """Deliver the mail outbox.

    :param smtp_conn_id: connection to the mail server.
    """

    job_class = DeliverMail

    def __init__(self, *, smtp_conn_id: str = "smtp_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smtp_conn_id = smtp_conn_id

    def job(self, settings: Settings) -> DeliverMail:  # noqa: ARG002 - the base's signature
        """Build the job with the mail server."""
        from cp_ops.hooks.mail import SmtpServer

        return DeliverMail(SmtpServer(self.smtp_conn_id))
