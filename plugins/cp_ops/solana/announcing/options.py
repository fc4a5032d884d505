"""Options of cp_ops_announce_solana_payments."""

from __future__ import annotations

from pydantic import Field

from cp_ops.runtime.options import JobOptions


class AnnouncePaymentsOptions(JobOptions):
    """Options of cp_ops_announce_solana_payments."""

    max_events: int = Field(
        default=500,
        gt=0,
        le=5_000,
        title="At most",
        description="Most events that one run announces, and most that it delivers to the webhook.",
    )
    redeliver: bool = Field(
        default=False,
        title="Deliver again what was given up",
        description="Try again webhook deliveries that were given up, of events of the last 30 days.",
    )
