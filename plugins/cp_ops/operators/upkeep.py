"""Operators that look after the package's own schema."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from cp_ops.operators.base import JobOperator
from cp_ops.runtime.options import JobOptions

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

LONGEST_MIGRATION_STATEMENT = timedelta(minutes=10)


class HousekeepingOperator(JobOperator):
    """Remove the package's own old records."""

    job = "cp_ops.upkeep.housekeeping.job:Housekeeping"
    command = "cp_ops_housekeeping"
    options = JobOptions


class MigrateOperator(BaseOperator):
    """Apply the missing versions of schema cp_ops; harmless when there are none.

    :param app_conn_id: connection to the application's database; its role creates or owns schema cp_ops.
    """

    def __init__(self, *, app_conn_id: str = "cp_app", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app_conn_id = app_conn_id

    def execute(self, context: Context) -> dict[str, str | None]:
        """Upgrade, and give the versions before and after."""
        from cp_ops.operators import task
        from cp_ops.runtime.migrations import upgrade

        database = task.database(self.app_conn_id, context, timeout=LONGEST_MIGRATION_STATEMENT)
        before, after = upgrade(database.connect)
        log.info("schema cp_ops: %s -> %s", before or "none", after)
        return {"before": before, "after": after}
