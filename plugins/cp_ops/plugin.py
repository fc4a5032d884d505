"""What Airflow loads: the operations page, and the links from a task to it."""

from __future__ import annotations

from typing import Any

from airflow.sdk.plugins_manager import AirflowPlugin

from cp_ops.operators.links import OperationsLink
from cp_ops.web.operations import PREFIX, app


class CpOpsPlugin(AirflowPlugin):
    """The operations page in the UI's navigation."""

    name = "cp_ops"
    fastapi_apps: list[Any] = [{"app": app, "url_prefix": PREFIX, "name": "cp_ops operations"}]
    external_views: list[Any] = [
        {
            "name": "Operations",
            "href": f"{PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "cp-ops",
        }
    ]
    operator_extra_links: list[Any] = [OperationsLink()]
