"""The demo's Solana payments: one or more of every situation that the commands meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.world.solana import Payment, PaymentShop


@dataclass(frozen=True)
class Scene:
    """Payments of one kind: how many, their rows, what is paid in (share of the price) and when."""

    title: str
    count: int
    status: str = "initiated"
    state: str = "created"
    expires_in: float = 1_800
    symbol: str = ""
    share: str = "1"
    late: bool = False


SCENES = (
    Scene("waiting for their customer", 3),
    Scene("paid, missed by the application", 2, symbol="USDC"),
    Scene("paid in SOL, missed by the application", 1, symbol="SOL"),
    Scene("run out unpaid", 5, expires_in=-3_600),
    Scene("run out, but paid in time", 2, expires_in=-3_600, symbol="SOL"),
    Scene("paid a minute too late", 1, expires_in=-3_600, symbol="USDC", late=True),
    Scene("paid too little", 1, expires_in=-3_600, symbol="SOL", share="0.5"),
    Scene("accepted, funds still in the wallet", 4, "confirmed", "processing_funds", -7_200, "USDC"),
    Scene("sending failed", 2, "confirmed", "failed_to_send_funds", -7_200, "SOL"),
    Scene("expired, rent locked", 3, "expired", "payment_expired", -7_200),
    Scene("expired, but its wallet was left as created", 2, "expired", "created", -7_200),
    Scene("accepted, but its wallet was left as created", 1, "confirmed", "created", -7_200, "SOL"),
    Scene("expired, funds came later", 1, "expired", "payment_expired", -7_200, "USDC", late=True),
)


def tell_payments(shop: PaymentShop) -> list[tuple[str, Payment]]:
    """Insert tokens and payments and pay into them; the receiver and the fee payer are the caller's business."""
    tokens = {
        "SOL": shop.token("SOL", price="0.1"),
        "USDC": shop.token("USDC", price="25"),
        "USDT": shop.token("USDT", price="25"),
    }
    made = []
    for scene in SCENES:
        for _ in range(scene.count):
            payment = shop.payment(status=scene.status, state=scene.state, expires_in=scene.expires_in)
            made.append((scene.title, payment))
            if scene.symbol:
                token = tokens[scene.symbol]
                moment = payment.too_late() if scene.late else payment.in_time()
                at = moment if scene.expires_in < 0 else None
                payment.pay(token.price * type(token.price)(scene.share), token, at=at)
    return made
