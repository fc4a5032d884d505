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
        description="Most events that one run announces and delivers.",
    )
    redeliver: bool = Field(
        default=False,
        title="Deliver again what was given up",
        description="Take up deliveries to the webhook that were given up within the last 30 days",
    )
