"""A one-time wallet: its rows, what it holds on the chain, and the states of the payment module."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from cp_ops.solana.accounts import Holding


class PaymentStatus(StrEnum):
    """A payment's status, as the module writes it."""

    INITIATED = "initiated"
    PROCESSED = "processed"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"
    EXPIRED = "expired"


class WalletState(StrEnum):
    """A wallet's state, as the module writes it."""

    CREATED = "created"
    RECEIVED = "received_funds"
    PROCESSING_PAYMENT = "processing_payment"
    PROCESSING_FUNDS = "processing_funds"
    FAILED = "failed_to_send_funds"
    SENT = "sent_funds"
    EXPIRED = "payment_expired"
    CLOSED = "payment_expired_and_wallet_closed"


SOL = "lamports"
"""SOL's key where sums are kept by mint, as it has none: in what a run has moved, in caps, and in findings' amounts."""
SOL_DECIMALS = 9


def money_key(mint: str | None) -> str:
    """Give the key under which sums are kept; `mint` is None for SOL."""
    return mint or SOL


def symbol_of(mint: str | None) -> str:
    """Give what a person is shown for a mint; `mint` is None for SOL."""
    return mint or "SOL"


ACCEPTED = (PaymentStatus.PROCESSED, PaymentStatus.CONFIRMED, PaymentStatus.FINALIZED)
"""The statuses of a payment that was paid."""
EMPTIED = (WalletState.SENT, WalletState.CLOSED)
"""The last states: nothing is left in such a wallet, as far as is known."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a payment costs in one token; `amount` in whole units, `mint` None for SOL."""

    token_id: int
    mint: str | None
    amount: Decimal

    def minor_units(self, decimals: int) -> int:
        """Give the price in the token's smallest unit, rounded up: less would be too little."""
        scaled = self.amount.scaleb(decimals)
        whole = int(scaled)
        return whole if whole == scaled else whole + 1


@dataclass(frozen=True, slots=True)
class WalletRow:
    """A wallet and its payment, as the database has them, and what cp_ops did with it."""

    wallet_id: int
    state: str
    payment_id: int
    address: str
    status: str
    expires_at: datetime
    prices: tuple[Price, ...] = ()
    moved_by: str | None = None
    moves: int = 0
    moved_at: datetime | None = None
    in_flight: bool = False
    extra_accounts: tuple[str, ...] | None = None

    @classmethod
    def of(cls, *, prices: Iterable[Sequence[Any]], extra_accounts: Any, **columns: Any) -> WalletRow:
        """Build from the columns of statement `wallets`."""
        return cls(
            prices=tuple(Price(token, mint, Decimal(amount)) for token, mint, amount in prices),
            extra_accounts=None if extra_accounts is None else tuple(extra_accounts),
            **columns,
        )

    @property
    def target(self) -> str:
        """The wallet's name in failures and findings."""
        return f"solana_wallet:{self.wallet_id}"


@dataclass(frozen=True, slots=True)
class WalletOnChain:
    """What a wallet holds: lamports of its own, and its token accounts."""

    address: str
    lamports: int = 0
    holdings: tuple[Holding, ...] = ()
    movable: bool = True
    """False when the address is not a plain account of the system program: its lamports cannot be transferred."""

    @property
    def rent(self) -> int:
        """Lamports that its token accounts hold."""
        return sum(holding.lamports for holding in self.holdings)

    @property
    def funded(self) -> bool:
        """Whether there is money in it: SOL, or any token."""
        return self.lamports > 0 or any(holding.amount for holding in self.holdings)

    def money(self) -> Counter[str]:
        """Give what is in it without rent: lamports, and minor units by mint."""
        found = Counter({SOL: self.lamports} if self.lamports else {})
        for holding in self.holdings:
            if holding.amount:
                found[holding.mint] += holding.amount
        return found

    def balance(self, mint: str | None) -> int:
        """Give what it holds of a mint over all its accounts, in minor units; of SOL when mint is None."""
        if mint is None:
            return self.lamports
        return sum(holding.amount for holding in self.holdings if holding.mint == mint)
