"""Options of cleanup_webhook_events."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cp_ops.runtime.options import JobOptions

Provider = Literal["stripe", "square", "docusign", "sms"]


class CleanupWebhookEventsOptions(JobOptions):
    """Options of cleanup_webhook_events."""

    days: int | None = Field(
        default=None,
        ge=30,
        title="Days to keep",
        description=(
            "Delete processed events older than this many days, at least 30. Providers send events again "
            "for up to 30 days, and an event's key keeps a replay from being processed twice. Empty means "
            "setting webhook_retention_days, else WEBHOOK_RETENTION_DAYS, else 180."
        ),
    )
    provider: Provider | None = Field(
        default=None, title="Provider", description="Only this provider's events. Empty means all four."
    )
