"""What happens when a task has failed for good: somebody is told, without personal data."""

from __future__ import annotations

import logging
from email.message import EmailMessage
from functools import partial
from typing import TYPE_CHECKING

from cp_ops.operators.outcomes import TaskOutcome
from cp_ops.operators.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

log = logging.getLogger(__name__)


def report_failure(context: Context) -> None:
    """Tell the operators that a task failed: by mail to [cp_ops] alert_email, to Slack where `slack_default` exists.

    The message names the DAG, the run, the outcome's counts and the run's page; the reasons are in the log. A channel
    that does not work is logged and does not hide the failure.
    """
    ti = context["ti"]
    title = f"{ti.dag_id}.{ti.task_id} failed"
    text = f"{title}\nrun: {ti.run_id}\nattempt: {ti.try_number}\n{_counts(context)}\n{ti.log_url}"
    settings = load_settings()
    channels: list[tuple[str, Callable[[], None]]] = []
    if settings.alert_email:
        mail = partial(_mail, settings.alert_email, settings.default_from_email, title, text)
        channels.append(("mail", mail))
    if _connection_exists("slack_default"):
        channels.append(("slack", partial(_slack, text)))
    for name, send in channels:
        try:
            send()
        except Exception as error:  # noqa: BLE001 - one broken channel must not stop the next
            log.warning("could not report the failure by %s: %s", name, type(error).__name__)
    if not channels:
        log.warning("%s; nobody was told: set [cp_ops] alert_email or define connection slack_default", title)


def _counts(context: Context) -> str:
    outcome = TaskOutcome.of_task(context, context["ti"].task_id)
    if outcome is None:
        return "no outcome: the task did not reach its job"
    return f"outcome: planned={outcome.planned} done={outcome.done} skipped={outcome.skipped} failed={outcome.failed}"


def _connection_exists(conn_id: str) -> bool:
    from cp_ops.hooks.connections import optional_connection

    return optional_connection(conn_id) is not None


def _mail(recipient: str, sender: str, title: str, text: str) -> None:
    from cp_ops.hooks.mail import SmtpServer

    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender or recipient, recipient, title
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    with SmtpServer().connect() as connection:
        connection.send(message, recipient)


def _slack(text: str) -> None:
    """Post to an incoming webhook: connection slack_default of type http, its host the webhook's URL."""
    from airflow.providers.http.hooks.http import HttpHook

    HttpHook(method="POST", http_conn_id="slack_default").run(json={"text": text})
