"""Operators of the mail outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import override

from cp_ops.mail.delivery.options import DeliverMailOptions
from cp_ops.operators.base import JobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from cp_ops.mail.delivery.job import DeliverMail
    from cp_ops.runtime.settings import Settings


class DeliverMailOperator(JobOperator):
    """Deliver the mail outbox.

    :param smtp_conn_id: connection to the mail server.
    """

    job = "cp_ops.mail.delivery.job:DeliverMail"
    command = "cp_ops_deliver_mail"
    options = DeliverMailOptions

    def __init__(self, *, smtp_conn_id: str = "smtp_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.smtp_conn_id = smtp_conn_id

    @override
    def build(self, job: type[DeliverMail], context: Context, settings: Settings) -> DeliverMail:
        from cp_ops.hooks.mail import SmtpServer

        return job(SmtpServer(self.smtp_conn_id))
