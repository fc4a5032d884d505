"""The words of every finding about a wallet: what it says, how much it matters, what a person can do. Decides nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.findings import Finding, Severity
from cp_ops.solana.wallets import symbol_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cp_ops.solana.accounts import Holding
    from cp_ops.solana.wallets import WalletRow


class Arrival(StrEnum):
    """Money that came when or as it should not: a person decides, so such a finding is never resolved here."""

    LATE = "late_payment"
    UNDERPAID = "underpaid"
    AFTER_SENT = "funds_after_sent"


class Condition(StrEnum):
    """A wallet as it stands: such a finding is resolved by the run that finds it otherwise."""

    FROZEN_ACCOUNT = "frozen_account"
    UNLISTED_MINT = "unlisted_mint"
    MINT_NOT_FOUND = "mint_not_found"
    FOREIGN_CLOSE_AUTHORITY = "foreign_close_authority"
    NOT_A_PLAIN_ACCOUNT = "not_a_plain_account"
    NO_TRANSFER_FOUND = "no_transfer_found"
    HISTORY_MISSING = "history_missing"
    KEY_UNDECRYPTABLE = "key_undecryptable"
    KEY_MISMATCH = "key_mismatch"
    TRANSFER_REJECTED = "transfer_rejected"


ADVICE = {
    Condition.FROZEN_ACCOUNT: "Ask the mint's freeze authority; it is swept once it is thawed",
    Condition.UNLISTED_MINT: "List the mint as a token if it is worth sweeping; ignore it if not",
    Condition.MINT_NOT_FOUND: "Correct the token's mint_address: no such mint",
    Condition.FOREIGN_CLOSE_AUTHORITY: "Somebody else may close this account: move its tokens by hand",
    Condition.NOT_A_PLAIN_ACCOUNT: "Look at the wallet: its address is not a plain account",
    Condition.NO_TRANSFER_FOUND: (
        "The payment is accepted, the wallet is empty, and no transfer to the receiver is on the chain: look at its history"
    ),
    Condition.HISTORY_MISSING: "The node does not show who paid this wallet: use one that keeps the whole history",
    Condition.KEY_UNDECRYPTABLE: "Add the key that the wallet was encrypted under to wallet_encryption_keys",
    Condition.KEY_MISMATCH: "The wallet's funds can be moved only by the key of its address: look for it in a backup",
    Condition.TRANSFER_REJECTED: "Look at the wallet's token accounts: the chain refuses to move them",
}
SEVERITIES = {
    Condition.UNLISTED_MINT: Severity.INFO,
    Condition.NO_TRANSFER_FOUND: Severity.CRITICAL,
    Condition.KEY_UNDECRYPTABLE: Severity.CRITICAL,
    Condition.KEY_MISMATCH: Severity.CRITICAL,
}
"""Of the conditions that are no mere warning."""


def of_wallet(row: WalletRow, condition: Condition, **details: Any) -> Finding:
    """Word a finding about a wallet."""
    return Finding(
        condition,
        row.target,
        SEVERITIES.get(condition, Severity.WARNING),
        ADVICE[condition],
        details={"payment": row.payment_id, **details},
    )


def of_token_account(row: WalletRow, condition: Condition, holding: Holding) -> Finding:
    """Word a finding about one of a wallet's token accounts: each account has a finding of its own."""
    return Finding(
        condition,
        f"{row.target}:{holding.address}",
        SEVERITIES.get(condition, Severity.WARNING),
        ADVICE[condition],
        details={
            "payment": row.payment_id,
            "account": holding.address,
            "mint": holding.mint,
            "amount": holding.amount,
        },
    )


def of_arrival(row: WalletRow, kind: Arrival, amounts: Mapping[str, int]) -> Finding:
    """Word a finding about money that came in.

    :param amounts: minor units by mint, of SOL under the key `SOL`.
    """
    subject = f"solana_payment:{row.payment_id}"
    return Finding(
        kind,
        # What comes after a wallet was emptied is another arrival than the one before, and needs a finding of its own.
        f"{subject}:{row.moves + 1}" if row.moves else subject,
        Severity.WARNING,
        "The money goes to the receiver; refund it or deliver, as your terms say",
        details={
            "amounts": {mint: str(amount) for mint, amount in sorted(amounts.items())},
            "address": row.address,
            "due": {symbol_of(price.mint): format(price.amount.normalize(), "f") for price in row.prices},
            "expired_at": row.expires_at.isoformat(),
        },
    )
