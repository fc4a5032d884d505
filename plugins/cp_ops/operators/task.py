"""What a task needs and a DAG file does not: the runner and the database.

Only `JobOperator.execute` and its like import this module, and never before a task runs.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cp_ops.hooks.application_db import ApplicationDbHook
from cp_ops.runtime.lease import Identity
from cp_ops.runtime.runner import run_job

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    from airflow.sdk import Context

    from cp_ops.runtime.job import Job
    from cp_ops.runtime.options import JobOptions
    from cp_ops.runtime.outcome import Outcome
    from cp_ops.runtime.settings import Settings

PROGRESS_KEY = "progress"
"""Where a running task shows how far it is: Task State Store, in the UI."""
LONGEST_STATEMENT = timedelta(hours=1)
"""The server's limit on a statement of a task that has no timeout of its own."""


def run(
    job: Job[Any],
    options: JobOptions,
    outcome: Outcome,
    context: Context,
    *,
    connect: Callable[[], psycopg.Connection[Any]],
    settings: Settings,
) -> None:
    """Run the job as this task instance.

    :param outcome: filled while the job runs.
    :param connect: opens a connection to the application's database.
    """
    run_job(
        job,
        options,
        connect=connect,
        settings=settings,
        identity=_identity(context),
        outcome=outcome,
        on_progress=_progress(context),
    )


def database(conn_id: str, context: Context, *, timeout: timedelta) -> ApplicationDbHook:
    """Give the application's database under the task's name.

    :param timeout: the server ends a statement that takes longer.
    """
    ti = context["ti"]
    return ApplicationDbHook(
        conn_id, application_name=f"{ti.dag_id}/{ti.run_id}", statement_timeout=timeout.total_seconds()
    )


def _identity(context: Context) -> Identity:
    ti, run = context["ti"], context["dag_run"]
    return Identity(
        holder=f"{ti.dag_id}/{ti.run_id}/{ti.task_id}",
        attempt=ti.try_number,
        requested_by=getattr(run, "triggering_user_name", None) or run.run_type.value,
    )


def _progress(context: Context) -> Callable[[str], None]:
    def show(text: str) -> None:
        with suppress(Exception):  # shown for convenience: never a reason to stop a run
            context["task_state_store"].set(PROGRESS_KEY, text)

    return show
