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
        description="Seconds between two requests to the RPC node. The connection's rate limits hold anyway",
    )
    limit: int | None = Field(
        default=None,
        gt=0,
        title="Limit",
        description="Most wallets that one run looks at. Empty: all that are due",
    )


class RecheckOptions(SolanaOptions):
    """Options of recheck_initiated_solana_payments."""

    limit: int = Field(
        default=RECHECK_LIMIT,
        gt=0,
        title="Limit",
        description="Most initiated payments to check; the oldest first",
    )


class CloseWalletsOptions(SolanaOptions):
    """Options of close_expired_one_time_wallets_and_reclaim_funds, and of the maintenance chain."""

    scan_closed_days: int = Field(
        default=SCAN_CLOSED_DAYS,
        ge=0,
        le=3_650,
        title="Scan closed wallets",
        description=(
            "Look again at wallets that were emptied already, for funds that came later: those whose payment ran out "
            "within this many days. 0: none"
        ),
    )
