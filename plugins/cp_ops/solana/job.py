"""The four commands. Each says which wallets it looks at; one planner says what is done with them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast

from cp_ops.solana.options import CloseWalletsOptions, RecheckOptions, SolanaOptions
from cp_ops.solana.survey import INSPECTED_AT_ONCE
from cp_ops.solana.wallet_job import WalletJob
from cp_ops.solana.wallets import ACCEPTED, EMPTIED, PaymentStatus, WalletState

if TYPE_CHECKING:
    from datetime import datetime

    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.wallets import WalletRow

__all__ = [
    "CloseExpiredPayments",
    "CloseExpiredWallets",
    "RecheckPayments",
    "SendFunds",
]  # operators name their job as text

UNSENT = (
    WalletState.RECEIVED,
    WalletState.PROCESSING_PAYMENT,
    WalletState.PROCESSING_FUNDS,
    WalletState.FAILED,
)
UNSETTLED = tuple(state for state in WalletState if state not in EMPTIED)
FEW = 100
"""Up to so many emptied wallets are all looked at again; of more, those are left out that were read just now."""
JUST_NOW = timedelta(minutes=10)


class CloseExpiredPayments(WalletJob):
    """Let initiated payments expire, or accept those that were paid in time after all; empty and close their wallets."""

    command = "close_expired_solana_payments_with_wallets"

    def in_scope(self, run: JobRun, tx: Transaction, options: SolanaOptions) -> list[WalletRow]:
        """Select initiated payments that have run out."""
        return self.select(tx, limit=options.limit, statuses=[PaymentStatus.INITIATED], expired_by=run.now)


class SendFunds(WalletJob):
    """Send what is in wallets under way to the receiver, SOL and all tokens, and close their accounts."""

    command = "send_solana_payments_from_one_time_wallets"

    def in_scope(self, run: JobRun, tx: Transaction, options: SolanaOptions) -> list[WalletRow]:  # noqa: ARG002
        """Select wallets that are processing, whose sending failed, or whose accepted payment left them as created."""
        sending = self.select(tx, limit=options.limit, states=list(UNSENT))
        # The application may have died between accepting a payment and marking its wallet.
        created = self.select(tx, limit=options.limit, statuses=list(ACCEPTED), states=[WalletState.CREATED])
        return first_of(options.limit, sending, created)


class CloseExpiredWallets(WalletJob):
    """Close the accounts of expired wallets and reclaim their rent; look again at wallets emptied lately."""

    command = "close_expired_one_time_wallets_and_reclaim_funds"
    options = CloseWalletsOptions

    def in_scope(self, run: JobRun, tx: Transaction, options: SolanaOptions) -> list[WalletRow]:
        """Select wallets whose payment has expired, whatever state that left them in, and those emptied lately."""
        limit = options.limit
        rows = first_of(
            limit,
            self.select(tx, limit=limit, states=[WalletState.EXPIRED]),
            self.select(tx, limit=limit, statuses=[PaymentStatus.EXPIRED], states=list(UNSETTLED)),
        )
        days = cast("CloseWalletsOptions", options).scan_closed_days
        if days:
            since = run.now - timedelta(days=days)
            emptied = self.select(tx, limit=limit, states=list(EMPTIED), expired_after=since)
            # The maintenance chain runs every 15 minutes: without this it would read a busy shop's wallets over and over.
            if len(emptied) > FEW:
                emptied = [row for row in emptied if not _just_seen(row, run.now)]
            rows = first_of(limit, rows, self._not_inspected(tx), emptied)
        return rows

    def _not_inspected(self, tx: Transaction) -> list[WalletRow]:
        """Select some emptied wallets of any age whose token accounts were never listed, as a busy run left them out."""
        found = tx.rows("emptied_uninspected", states=list(EMPTIED), limit=INSPECTED_AT_ONCE)
        return self.select(tx, limit=None, wallet_ids=[row["wallet_id"] for row in found]) if found else []


class RecheckPayments(WalletJob):
    """Accept initiated payments that were paid on the chain, which the application has missed."""

    command = "recheck_initiated_solana_payments"
    options = RecheckOptions
    moves = False

    def in_scope(self, run: JobRun, tx: Transaction, options: SolanaOptions) -> list[WalletRow]:  # noqa: ARG002
        """Select initiated payments, those that run out first in front."""
        return self.select(tx, limit=options.limit, statuses=[PaymentStatus.INITIATED])


def first_of(limit: int | None, *selected: list[WalletRow]) -> list[WalletRow]:
    """Join selections, each wallet once, at most `limit` of them."""
    rows = {row.wallet_id: row for part in selected for row in part}
    return list(rows.values())[:limit]


def _just_seen(row: WalletRow, now: datetime) -> bool:
    return row.moved_at is not None and row.moved_at > now - JUST_NOW
