"""A handful of wallets in every situation, and the check that each came out right and every amount moved once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import CpOpsError
from cp_ops.solana.job import CloseExpiredPayments, CloseExpiredWallets, RecheckPayments, SendFunds
from tests.integration.solana.conftest import RECEIVER

if TYPE_CHECKING:
    from sandbox.world.solana import Payment
    from tests.integration.solana.conftest import Shop

EVERYTHING = (RecheckPayments, CloseExpiredPayments, SendFunds, CloseExpiredWallets)
SENT = ("confirmed", "sent_funds")
CLOSED = ("expired", "payment_expired_and_wallet_closed")
UNTOUCHED = ("initiated", "created")


@dataclass
class Story:
    """What was arranged: payments with the states that they must end in, and what the receiver must get."""

    shop: Shop
    expected: list[tuple[Payment, tuple[str, str]]] = field(default_factory=list)
    due: Counter[str] = field(default_factory=Counter)

    def add(
        self, end: tuple[str, str], symbol: str = "", *, late: bool = False, share: float = 1, **columns
    ) -> Payment:
        payment = self.shop.payment(**columns)
        self.expected.append((payment, end))
        if symbol:
            token = getattr(self.shop, symbol)
            at = (
                payment.too_late()
                if late
                else payment.in_time()
                if columns.get("expires_in", 1) < 0
                else None
            )
            payment.pay(token.price * type(token.price)(str(share)), token, at=at)
            self.due[symbol] += int(token.minor(token.price) * share)
        return payment

    def add_in_parts(self, end: tuple[str, str], **columns) -> Payment:
        """A payment in time in two parts: only its transactions tell which completed the price."""
        payment = self.add(end, expires_in=-60, **columns)
        for tenths in (6, 4):
            payment.pay(self.shop.sol.price * tenths / 10, self.shop.sol, at=payment.in_time())
        self.due["sol"] += self.shop.sol.minor(self.shop.sol.price)
        return payment

    def tell(self) -> Story:
        """Arrange one wallet of each situation."""
        self.add(UNTOUCHED)
        self.add(SENT, "usdc")
        self.add(CLOSED, expires_in=-60)
        self.add(SENT, "sol", expires_in=-60)
        self.add(CLOSED, "usdc", late=True, expires_in=-60)
        self.add(CLOSED, "sol", share=0.5, expires_in=-60)
        self.add(SENT, "usdc", expires_in=-60, status="confirmed", state="processing_funds")
        self.add(SENT, "sol", expires_in=-60, status="confirmed", state="failed_to_send_funds")
        self.add(CLOSED, expires_in=-60, status="expired", state="payment_expired")
        self.add(CLOSED, "usdc", late=True, expires_in=-60, status="expired", state="payment_expired")
        self.add(CLOSED, expires_in=-60, status="expired", state="created")
        self.add(SENT, "usdc", expires_in=-60, status="confirmed", state="created")
        self.add_in_parts(SENT)
        return self

    def run_all(self) -> list[CpOpsError]:
        """Run every command once; give what they raised."""
        raised = []
        for command in EVERYTHING:
            try:
                self.shop.run(command, limit=100_000)
            except CpOpsError as error:
                raised.append(error)
        return raised

    def converge(self, runs: int = 3) -> None:
        """Run everything until nothing is due any more."""
        for _ in range(runs):
            if (
                not self.run_all()
                and self.shop.own("SELECT count(*) FROM cp_ops.solana_transfer WHERE open")[0][0] == 0
            ):
                return
        raise AssertionError(f"still something to do after {runs} runs of everything")

    def check(self) -> None:
        """Every wallet is right, nothing is lost, nothing moved twice; what is right is not looked at again."""
        shop = self.shop
        for payment, end in self.expected:
            assert payment.states() == end, payment.id
            assert (shop.remains(payment) == 0) == (end != UNTOUCHED), payment.id
        for symbol in ("sol", "usdc"):
            assert shop.received(getattr(shop, symbol)) == self.due[symbol], symbol
        announced = shop.events()
        for payment, end in self.expected:
            events = [kind for number, kind in announced if number == payment.id]
            assert len(events) <= 1, "exactly one logical event"
            assert events in ([], ["accepted" if end == SENT else "expired"])
        landed = shop.own("SELECT signature FROM cp_ops.solana_transaction WHERE state = 'landed'")
        on_chain = {entry.signature for entry in shop.node.ledger.entries if entry.err is None}
        assert {signature for (signature,) in landed} <= on_chain
        ours = {signature for (signature,) in shop.own("SELECT signature FROM cp_ops.solana_transaction")}
        credited = {
            s
            for token in (None, shop.usdc.mint)
            for s, _ in shop.node.ledger.credits(RECEIVER, token)[1 if token is None else 0 :]
        }
        assert credited <= ours, "everything that the receiver got was written down before"
        shop.node.ledger.check()
        self.expected.clear()
