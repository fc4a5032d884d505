"""Options of execute_retention_policies."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cp_ops.runtime.options import FirmOptions

DataType = Literal[
    "emails",
    "documents",
    "audit_logs",
    "webhooks",
    "sessions",
    "invoices",
    "projects",
    "time_entries",
    "leads",
    "prospects",
    "support_tickets",
]


class ExecuteRetentionPoliciesOptions(FirmOptions):
    """Options of execute_retention_policies."""

    data_type: DataType | None = Field(
        default=None,
        title="Data type",
        description=(
            "Only policies for this kind of data. Emails means the policies named emails, email_artifacts "
            "and communications. Empty means every active policy."
        ),
    )
    max_minutes: int | None = Field(
        default=120,
        ge=1,
        le=1_440,
        title="Minutes at most",
        description=(
            "Begin no new batch after this many minutes. The outcome names what is left, and the next run "
            "does it. Empty means no limit but the task's timeout."
        ),
    )
