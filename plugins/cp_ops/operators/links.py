"""Links from a task in the Airflow UI."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from airflow.sdk import BaseOperatorLink, conf
from typing_extensions import override

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PREFIX = "/cp_ops"
"""Where the operations page is mounted, below Airflow's base URL."""


class OperationsLink(BaseOperatorLink):
    """From a command's task to its runs and open findings."""

    name = "Runs and findings"

    @override
    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Give the operations page of the task's command."""
        command = getattr(operator, "command", operator.task_id)
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{base}{PREFIX}/?{urlencode({'command': command})}"
