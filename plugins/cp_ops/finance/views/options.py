"""Options of refresh_materialized_views."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from cp_ops.runtime.options import JobOptions

Concurrently = Literal["auto", "always", "never"]
View = Literal[
    "mv_revenue_by_project_month", "mv_utilization_by_user_week", "mv_utilization_by_project_month"
]

VIEWS: tuple[View, ...] = get_args(View)


class RefreshMaterializedViewsOptions(JobOptions):
    """Options of refresh_materialized_views."""

    view: View | None = Field(
        default=None, title="View", description="Refresh only this view. Empty means all three."
    )
    concurrently: Concurrently = Field(
        default="auto",
        title="Concurrently",
        description=(
            "Whether to refresh without making readers wait. Auto does so where it is possible and pays, "
            "always fails where it is not possible, never makes readers wait."
        ),
    )
