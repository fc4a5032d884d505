"""A payment's event, as others are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

ACCEPTED, EXPIRED = "accepted", "expired"
"""The kinds of event: one of each a payment, at most."""


@dataclass(frozen=True)
class PaymentEvent:
    """A payment that was accepted or has expired. `amount` is in minor units, `mint` None for SOL."""

    id: int
    payment_id: int
    kind: str
    status: str
    signature: str | None
    mint: str | None
    amount: Decimal | None
    occurred_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form: what an asset event's extra and a webhook's body hold."""
        return {
            "event_id": self.id,
            "payment_id": self.payment_id,
            "kind": self.kind,
            "status": self.status,
            "signature": self.signature,
            "mint": self.mint,
            "amount": None if self.amount is None else str(int(self.amount)),
            "occurred_at": self.occurred_at.isoformat(),
        }
