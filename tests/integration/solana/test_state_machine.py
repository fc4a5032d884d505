"""Payments arriving, expiring, faults and runs in any order: in the end every wallet is right and every amount moved once."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cp_ops.runtime.errors import CpOpsError
from cp_ops.solana.sending import Patience
from tests.integration.solana.stories import CLOSED, EVERYTHING, SENT

FAULTS = (
    "lost_response",
    "connection_reset",
    "rate_limited",
    "server_error",
    "null_result",
    "dropped",
    "held",
    "landed_with_error",
)


def machine(shop):  # noqa: C901 - a class with its rules, none of them complex
    """A state machine on one shop; every example works on payments of its own."""
    shop.patience = Patience(poll=0.01, rebroadcast=0.05, give_up=0.3)
    shop.fields["timeout"] = 0.5

    class Payments(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            shop.node.faults.clear()
            self.payments, self.paid_in_time, self.sums = [], Counter(), Counter()
            self.received = {symbol: shop.received(getattr(shop, symbol)) for symbol in ("sol", "usdc")}

        @rule(
            expires_in=st.sampled_from([-60, 1_800]),
            symbol=st.sampled_from(["sol", "usdc"]),
            parts=st.lists(st.tuples(st.sampled_from([5, 10]), st.booleans()), max_size=3),
        )
        def arrive(self, expires_in, symbol, parts):
            """A payment, paid in tenths of its price, each part in time or late."""
            token, payment = getattr(shop, symbol), shop.payment(expires_in=expires_in)
            self.payments.append((payment, symbol))
            for tenths, late in sorted(parts, key=lambda part: part[1]):
                moment = shop.world.now
                if expires_in < 0:
                    moment = payment.too_late() if late else payment.in_time()
                payment.pay(token.price * tenths / 10, token, at=moment)
                self.sums[payment.id] += token.minor(token.price * tenths / 10)
                if expires_in > 0 or not late:
                    self.paid_in_time[payment.id] += tenths

        @precondition(lambda self: self.payments)
        @rule(data=st.data())
        def run_out(self, data):
            """Time passes for one payment: what it has got so far was in time."""
            payment, _ = data.draw(st.sampled_from(self.payments))
            if payment.expires_at > shop.world.now and payment.row()["status"] == "initiated":
                payment.expires_at = shop.world.now + timedelta(milliseconds=1)
                shop.world.conn.execute(
                    "UPDATE django_solana_payments_solanapayment SET expiration_date = now() WHERE id = %s",
                    [payment.id],
                )
                shop.node.set_unix_time(shop.world.scalar("SELECT extract(epoch FROM now())::float8") + 2)

        @rule(kind=st.sampled_from(FAULTS), skip=st.integers(0, 6), count=st.sampled_from([1, 2, None]))
        def go_wrong(self, kind, skip, count):
            shop.node.faults.add(kind, skip=skip, count=count)

        @rule()
        def recover(self):
            shop.node.faults.clear()

        @rule(held=st.booleans())
        def time_passes(self, held):
            if held:
                shop.node.release_held()
            shop.node.advance_slots(160)

        @rule(command=st.sampled_from(EVERYTHING))
        def run(self, command):
            with contextlib.suppress(CpOpsError):
                shop.run(command)

        @invariant()
        def nothing_moved_twice(self):
            for symbol, before in self.received.items():
                due = sum(self.sums[payment.id] for payment, which in self.payments if which == symbol)
                assert shop.received(getattr(shop, symbol)) - before <= due

        def teardown(self):
            shop.node.faults.clear()
            shop.node.advance_slots(200)
            shop.node.set_unix_time(shop.world.scalar("SELECT extract(epoch FROM now())::float8") + 2)
            for _ in range(4):
                for command in EVERYTHING:
                    with contextlib.suppress(CpOpsError):
                        shop.run(command)
                shop.node.advance_slots(200)
            for payment, _ in self.payments:
                paid = self.paid_in_time[payment.id] >= 10
                expired = payment.row()["expiration_date"] <= shop.world.scalar("SELECT now()")
                if paid:
                    assert payment.states() == SENT
                elif expired:
                    assert payment.states() == CLOSED
                else:
                    assert payment.row()["status"] == "initiated"
                assert (shop.remains(payment) == 0) == (paid or expired)
            for symbol, before in self.received.items():
                swept = sum(
                    self.sums[payment.id]
                    for payment, which in self.payments
                    if which == symbol and payment.row()["status"] != "initiated"
                )
                assert shop.received(getattr(shop, symbol)) - before == swept
            shop.node.ledger.check()

    return Payments


@pytest.mark.parametrize("max_examples", [12, pytest.param(150, marks=pytest.mark.nightly)])
def test_any_order_of_payments_faults_and_runs_ends_right(shop, max_examples):
    run_state_machine_as_test(
        machine(shop),
        settings=settings(
            max_examples=max_examples,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
