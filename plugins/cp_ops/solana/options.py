"""Options of the Solana commands."""

from __future__ import annotations

from pydantic import Field

from cp_ops.runtime.options import JobOptions

RECHECK_LIMIT = 200
SCAN_CLOSED_DAYS = 2


class SolanaOptions(JobOptions):
    """What every Solana command takes."""

    sleep: float = Field(
        default=0,
        ge=0,
        le=60,
        title="Sleep",
        description=(
            "Seconds to wait between two requests to the RPC node, beside the connection's rate limits."
        ),
    )
    limit: int | None = Field(
        default=None,
        gt=0,
        title="Limit",
        description="Most wallets that one run works on. Empty means all that are due.",
    )


class RecheckOptions(SolanaOptions):
    """Options of recheck_initiated_solana_payments."""

    limit: int = Field(
        default=RECHECK_LIMIT,
        gt=0,
        title="Limit",
        description="Most initiated payments to check. Those that run out first come first.",
    )


class CloseWalletsOptions(SolanaOptions):
    """Options of close_expired_one_time_wallets_and_reclaim_funds, and of the maintenance chain."""

    scan_closed_days: int = Field(
        default=SCAN_CLOSED_DAYS,
        ge=0,
        le=3_650,
        title="Scan closed wallets",
        description=(
            "Read emptied wallets again for money that came later, if their payment ran out within this "
            "many days. 0 reads none."
        ),
    )
