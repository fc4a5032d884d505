"""Links from a task in the Airflow UI."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from airflow.sdk import BaseOperatorLink, conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PREFIX = "/cp_ops"
"""Where the operations page is mounted, below Airflow's base URL."""


class OperationsLink(BaseOperatorLink):
    """From a command's task to its runs and open findings."""

    name = "Runs and findings"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """Give the operations page of the task's command."""
        command = getattr(getattr(operator, "job_class", None), "command", operator.task_id)
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{base}{PREFIX}/?{urlencode({'command': command})}"
