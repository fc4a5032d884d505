"""Options of execute_erasure_request."""

from __future__ import annotations

from pydantic import Field

from cp_ops.runtime.options import JobOptions


class ExecuteErasureRequestOptions(JobOptions):
    """Options of execute_erasure_request."""

    request_id: int = Field(
        gt=0, title="Request", description="Id of an approved erasure request (core_erasure_request.id)"
    )
    confirm: bool = Field(
        default=True,
        title="Ask for approval",
        description="Show the plan here in Airflow and wait for a person to approve exactly that plan",
    )
