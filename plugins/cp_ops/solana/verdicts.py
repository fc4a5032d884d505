"""What the chain may say of a payment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Paid:
    """The price was there in time: the transaction that completed it, and what had come in by the expiry."""

    token_id: int
    mint: str | None
    amount: int
    signature: str
    paid_at: datetime


@dataclass(frozen=True, slots=True)
class Late:
    """The price is there, but was not by the expiry.

    :param received: what came in by mint (SOL: None), where some of it has left the wallet already.
    """

    mint: str | None
    amount: int
    received: tuple[tuple[str | None, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Underpaid:
    """Money is there, but less than the price of any token.

    :param received: as for `Late`.
    """

    received: tuple[tuple[str | None, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """The price is there, but the history at the acceptance commitment does not tell who paid it.

    :param awaited: whether it is known to be on its way to that commitment.
    """

    awaited: bool = False


@dataclass(frozen=True, slots=True)
class Unpaid:
    """Nothing is there."""


PaymentVerdict = Paid | Late | Underpaid | Pending | Unpaid
