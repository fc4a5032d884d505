"""How this package declares a DAG: one call that fixes what all of them share."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow.sdk import (
    DAG,
    AssetAny,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
)

from cp_ops.operators.alerts import report_failure
from cp_ops.operators.settings import schedule_timezone
from cp_ops.runtime.errors import CpOpsError, Verdict, all_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Asset

    from cp_ops.runtime.options import JobOptions

OWNER = "cp_ops"
RETRIES = 2


class Tag(StrEnum):
    """The tags of this package's DAGs."""

    COMMAND = "command"
    SYSTEM = "system"
    FINANCE = "finance"
    DOCUMENTS = "documents"
    CRM = "crm"
    CALENDAR = "calendar"
    FIRMS = "firms"
    PRIVACY = "privacy"
    DIRECTORY = "directory"
    SOLANA = "solana"
    MAIL = "mail"


def retry_policy() -> ExceptionRetryPolicy:
    """Turn the error table into Airflow's: what it does not list fails at once.

    The rules are those of `runtime.errors` only. Airflow matches subclasses, too, and a domain's own errors mean what
    their bases mean, so that a DAG says the same whichever domains its process has loaded.
    """
    actions = {
        Verdict.RETRY: RetryAction.RETRY,
        Verdict.FAIL: RetryAction.FAIL,
        Verdict.SKIP: RetryAction.FAIL,
    }
    rules = [
        RetryRule(
            exception=error,
            action=actions[error.verdict],
            retry_delay=error.retry_delay if error.verdict is Verdict.RETRY else None,
            reason=(error.__doc__ or "").splitlines()[0],
        )
        for error in all_errors()
        if error.__module__ == CpOpsError.__module__
    ]
    return ExceptionRetryPolicy(rules=rules, default=RetryAction.FAIL)


def params_of(options: type[JobOptions]) -> dict[str, Param]:
    """Generate the trigger form from the options model."""
    return {name: Param(**schema) for name, schema in options.param_schemas().items()}


def ops_dag(  # noqa: PLR0913 - keywords of one declaration
    dag_id: str,
    *,
    schedule: str | None,
    options: type[JobOptions] | None,
    doc_md: str | None,
    tags: Sequence[Tag],
    timeout: timedelta = timedelta(minutes=30),
    after: Sequence[Asset] = (),
    waits: timedelta = timedelta(0),
    max_active_runs: int = 1,
    **kwargs: Any,
) -> DAG:
    """Declare a DAG of this package: named as its command, its params generated from the options.

    Cron schedules are read in the deployment's time zone, setting [cp_ops] timezone. One run at a time, no catch-up:
    what is due comes from the database's state, so a skipped tick loses nothing.

    :param after: assets whose change starts a run, too, besides the schedule.
    :param timeout: the longest that an attempt of a task may take.
    :param waits: how long a run may wait for a person, besides.
    :param max_active_runs: more than one only where runs are about different subjects and the lease keeps them apart.
    """
    cron = CronTriggerTimetable(schedule, timezone=schedule_timezone()) if schedule else None
    return DAG(
        dag_id,
        schedule=AssetOrTimeSchedule(timetable=cron, assets=AssetAny(*after)) if cron and after else cron,
        doc_md=doc_md,
        description=(doc_md or "").strip().splitlines()[0].rstrip("."),
        tags=[tag.value for tag in tags],
        params=params_of(options) if options else None,
        catchup=False,
        max_active_runs=max_active_runs,
        # Longer than all attempts of a task together: a run that waits for its retry must not be ended for it.
        dagrun_timeout=timeout * (RETRIES + 1) + waits + timedelta(minutes=15),
        default_args={
            "owner": OWNER,
            "retries": RETRIES,
            "retry_delay": timedelta(minutes=1),
            "retry_policy": retry_policy(),
            "execution_timeout": timeout,
            "on_failure_callback": report_failure,
        },
        **kwargs,
    )
