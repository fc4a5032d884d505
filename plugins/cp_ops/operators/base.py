"""The operator that every command's operator is: options in, outcome out, one path."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from cp_ops.operators.links import OperationsLink
from cp_ops.runtime.errors import AlreadyRunningError, OptionsError, SettingError
from cp_ops.runtime.lease import Identity
from cp_ops.runtime.outcome import Outcome
from cp_ops.runtime.process import die_with, maker_of
from cp_ops.runtime.runner import run_job
from cp_ops.runtime.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow.sdk import Context

    from cp_ops.runtime.job import Job
    from cp_ops.runtime.options import JobOptions

log = logging.getLogger(__name__)

SECTION = "cp_ops"
PROGRESS_KEY = "progress"
"""Where a running task shows how far it is: Task State Store, in the UI."""


class JobOperator(BaseOperator):
    """Run one command's job.

    The options are the DAG run's params; what the run gives beyond the documented options is refused. The task returns
    the outcome as XCom, fails when any row failed, and is skipped when another run of the command holds the lease.

    :param fixed_options: options that this task sets itself, whatever the params say.
    :param app_conn_id: connection to the application's database.
    """

    job_class: ClassVar[type[Job[Any]]]
    operator_extra_links = (OperationsLink(),)
    ui_color = "#e8f0f2"

    def __init__(
        self, *, fixed_options: Mapping[str, Any] | None = None, app_conn_id: str = "cp_app", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.fixed_options = dict(fixed_options or {})
        self.app_conn_id = app_conn_id

    def job(self, settings: Settings) -> Job[Any]:  # noqa: ARG002 - for subclasses
        """Build the job with its clients."""
        return self.job_class()

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the job once."""
        _tie_to_worker()
        options = self._options(context)
        settings = load_settings()
        job = self.job(settings)
        outcome = Outcome(job.command, options.dry_run)
        try:
            run_job(
                job,
                options,
                connect=self._database(context).connect,
                settings=settings,
                identity=_identity(context),
                outcome=outcome,
                on_progress=_progress(context),
            )
        except AlreadyRunningError as error:
            raise AirflowSkipException(str(error)) from None
        except OptionsError as error:
            raise AirflowFailException(str(error)) from None
        finally:
            context["ti"].xcom_push(key="outcome", value=outcome.as_dict())
            log.info("%s", outcome.line())
        return outcome.as_dict()

    def _options(self, context: Context) -> JobOptions:
        try:
            return self.job_class.options.parse({**context["params"], **self.fixed_options})
        except OptionsError as error:
            raise AirflowFailException(f"{self.job_class.command}: {error}") from None

    def _database(self, context: Context) -> Any:
        from cp_ops.hooks.application_db import ApplicationDbHook

        ti = context["ti"]
        timeout = self.execution_timeout.total_seconds() if self.execution_timeout else 3600
        return ApplicationDbHook(
            self.app_conn_id, application_name=f"{ti.dag_id}/{ti.run_id}", statement_timeout=timeout
        )


def load_settings() -> Settings:
    """Read section [cp_ops] of Airflow's configuration.

    :raises AirflowFailException: naming the setting that is wrong.
    """
    try:
        return Settings.load(lambda name: conf.get(SECTION, name, fallback=None), os.environ)
    except SettingError as error:
        raise AirflowFailException(str(error)) from None


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


def _tie_to_worker() -> None:
    """Die with the worker, except under `dag.test()`, where the task runs inside the caller's own process.

    The worker is the process that made the socket pair between it and the task, just before it forked: the parent's pid
    may be another one by now, when the worker was killed while the task's process was still parsing the DAG file.
    """
    from airflow.sdk.execution_time import task_runner

    comms: Any = getattr(task_runner, "SUPERVISOR_COMMS", None)
    if comms is not None and not type(comms).__name__.startswith("InProcess"):
        die_with(maker_of(comms.socket) or os.getppid())
