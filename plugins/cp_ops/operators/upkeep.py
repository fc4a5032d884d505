"""Operators that look after the package's own schema."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from cp_ops.operators.base import JobOperator
from cp_ops.upkeep.housekeeping.job import Housekeeping

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class HousekeepingOperator(JobOperator):
    """Remove the package's own old records."""

    job_class = Housekeeping


class MigrateOperator(BaseOperator):
    """Apply the missing versions of schema cp_ops; harmless when there are none.

    :param app_conn_id: connection to the application's database; its role creates or owns schema cp_ops.
    """

    def __init__(self, *, app_conn_id: str = "cp_app", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app_conn_id = app_conn_id

    def execute(self, context: Context) -> dict[str, str | None]:
        """Upgrade, and give the versions before and after."""
        from cp_ops.hooks.application_db import ApplicationDbHook
        from cp_ops.runtime.migrations import upgrade

        ti = context["ti"]
        hook = ApplicationDbHook(
            self.app_conn_id, application_name=f"{ti.dag_id}/{ti.run_id}", statement_timeout=600
        )
        before, after = upgrade(hook.connect)
        log.info("schema cp_ops: %s -> %s", before or "none", after)
        return {"before": before, "after": after}
