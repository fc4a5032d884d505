"""The operator that every command's operator is: options in, outcome out, one path.

A DAG file is parsed every few seconds, a task runs once. So this module, and the modules of the operators beside it, import
what a DAG's form needs and no more. A class names its job as text; `execute` resolves it, and with it the job's drivers.
"""

from __future__ import annotations

import logging
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from cp_ops.operators.links import OperationsLink
from cp_ops.operators.settings import load_settings
from cp_ops.runtime.errors import AlreadyRunningError, OptionsError
from cp_ops.runtime.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from cp_ops.runtime.job import Job
    from cp_ops.runtime.options import JobOptions
    from cp_ops.runtime.settings import Settings

log = logging.getLogger(__name__)


class JobOperator(BaseOperator):
    """Run one command's job.

    The options are the DAG run's params; what the run gives beyond the documented options is refused. The task returns
    the outcome as XCom, fails when any row failed, and is skipped when another run of the command holds the lease.

    A subclass names the job. It overrides `build` where the job takes clients, and `conclude` where more follows from the
    outcome. It keeps nothing on itself beyond the arguments of its constructor.

    :cvar job: where the job's class is, such as ``cp_ops.crm.stale_deals.job:CheckStaleDeals``.
    :cvar command: the job's command.
    :cvar options: the job's options.
    :param fixed_options: options that this task sets itself, whatever the params say.
    :param app_conn_id: connection to the application's database.
    """

    job: ClassVar[str]
    command: ClassVar[str]
    options: ClassVar[type[JobOptions]]
    operator_extra_links = (OperationsLink(),)
    ui_color = "#e8f0f2"

    def __init__(
        self, *, fixed_options: Mapping[str, Any] | None = None, app_conn_id: str = "cp_app", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.fixed_options = dict(fixed_options or {})
        self.app_conn_id = app_conn_id

    def build(self, job: Any, context: Context, settings: Settings) -> Job[Any]:  # noqa: ARG002 - for subclasses
        """Make the job with its clients.

        :param job: the class that `job` names.
        """
        made: Job[Any] = job()
        return made

    def conclude(self, context: Context, job: Any, outcome: Outcome) -> None:
        """Do what follows when the job has run and no row failed; nothing, unless a subclass says otherwise.

        :param job: what `build` made, for what it has to show.
        """

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the job once."""
        from cp_ops.operators.worker import tie_to_worker

        tie_to_worker()  # before anything that takes long, as what a task does outside the database knows no fence
        from cp_ops.operators import task

        options = self.parse_options(context)
        settings = load_settings()
        job = self.build(resolve_name(self.job), context, settings)
        outcome = Outcome(self.command, options.dry_run)
        database = task.database(
            self.app_conn_id, context, timeout=self.execution_timeout or task.LONGEST_STATEMENT
        )
        try:
            task.run(job, options, outcome, context, connect=database.connect, settings=settings)
        except AlreadyRunningError as error:
            raise AirflowSkipException(str(error)) from None
        except OptionsError as error:
            raise AirflowFailException(str(error)) from None
        finally:
            # Also when the job failed: the alert and later tasks read what became of it.
            context["ti"].xcom_push(key="outcome", value=outcome.as_dict())
            log.info("%s", outcome.line())
        self.conclude(context, job, outcome)
        return outcome.as_dict()

    def parse_options(self, context: Context) -> JobOptions:
        """Check what the run was given.

        :raises AirflowFailException: naming the command and the first wrong option.
        """
        try:
            return self.options.parse({**context["params"], **self.fixed_options})
        except OptionsError as error:
            raise AirflowFailException(f"{self.command}: {error}") from None
