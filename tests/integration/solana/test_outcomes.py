"""Each situation of a wallet, and what must come out of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cp_ops.solana.job import CloseExpiredPayments, CloseExpiredWallets, RecheckPayments, SendFunds
from tests.integration.solana.conftest import RECEIVER

CLOSED = ("expired", "payment_expired_and_wallet_closed")


def test_an_expired_empty_payment_expires_and_its_accounts_are_closed(shop):
    payment = shop.payment(expires_in=-60)
    rent = shop.remains(payment)
    outcome = shop.run(CloseExpiredPayments)

    assert payment.states() == CLOSED
    assert (rent > 0, shop.remains(payment)) == (True, 0)
    assert outcome.numbers["lamports_rent_recovered"] == rent
    assert shop.events() == [(payment.id, "expired")]
    assert shop.findings() == []
    assert shop.received(shop.sol) == 0


@pytest.mark.parametrize("symbol", ["sol", "usdc"])
def test_a_payment_that_was_paid_in_time_is_accepted_though_expired_and_swept(shop, symbol):
    token = getattr(shop, symbol)
    payment = shop.payment(expires_in=-60)
    signature = payment.pay(token.price, token, at=payment.in_time())
    shop.run(CloseExpiredPayments)

    row = payment.row()
    assert payment.states() == ("confirmed", "sent_funds")
    assert (row["signature"], row["paid_token_id"]) == (signature, token.id)
    assert payment.wallet()["receiver_address"] == str(RECEIVER)
    assert shop.received(token) == token.minor(token.price)
    assert shop.remains(payment) == 0
    assert shop.events() == [(payment.id, "accepted")]


@pytest.mark.parametrize(
    ("amount", "moment", "kind"),
    [
        ("0.1", "too_late", "late_payment"),
        ("0.04", "in_time", "underpaid"),
        ("0.04", "too_late", "underpaid"),
    ],
)
def test_a_late_or_short_payment_expires_is_swept_and_reported(shop, amount, moment, kind):
    payment = shop.payment(expires_in=-60)
    payment.pay(amount, shop.sol, at=getattr(payment, moment)())
    shop.run(CloseExpiredPayments)

    assert payment.states() == CLOSED
    assert shop.received(shop.sol) == shop.sol.minor(amount)
    assert shop.remains(payment) == 0
    ((found, subject, details),) = shop.findings()
    assert (found, subject) == (kind, f"solana_payment:{payment.id}")
    assert details["amounts"] == {"lamports": str(shop.sol.minor(amount))}
    assert shop.events() == [(payment.id, "expired")]


def test_parts_that_complete_the_price_in_time_count_and_the_completing_one_is_the_signature(shop):
    payment = shop.payment(expires_in=-60)
    payment.pay("0.06", shop.sol, at=payment.in_time() - timedelta(seconds=60))
    completing = payment.pay("0.04", shop.sol, at=payment.in_time())
    payment.pay("0.01", shop.sol, at=payment.too_late())
    shop.run(CloseExpiredPayments)

    assert payment.states() == ("confirmed", "sent_funds")
    assert payment.row()["signature"] == completing
    assert shop.received(shop.sol) == shop.sol.minor("0.11")


def test_parts_that_complete_the_price_too_late_are_a_late_payment(shop):
    payment = shop.payment(expires_in=-60)
    payment.pay("0.06", shop.sol, at=payment.in_time())
    payment.pay("0.06", shop.sol, at=payment.too_late())
    shop.run(CloseExpiredPayments)
    assert payment.states() == CLOSED
    assert shop.kinds() == ["late_payment"]


@pytest.mark.parametrize("state", ["created", "processing_payment"])
def test_an_unexpired_unpaid_payment_is_untouched(shop, state, written):
    payment = shop.payment(state=state)
    before = written()
    for outcome in [*shop.maintain(), shop.run(RecheckPayments)]:
        assert outcome.planned == 0
    assert {table for table, rows in written().items() if rows != before.get(table, 0)} == {"cp_ops.job_run"}
    assert payment.states() == ("initiated", state)
    assert shop.remains(payment) > 0


@pytest.mark.parametrize("symbol", ["sol", "usdc"])
def test_recheck_accepts_a_payment_that_the_application_has_missed(shop, symbol):
    token = getattr(shop, symbol)
    payment = shop.payment()
    signature = payment.pay(token.price, token)
    outcome = shop.run(RecheckPayments)

    assert outcome.done_kinds == {"accept": 1}
    assert payment.states() == ("confirmed", "processing_funds")
    assert (payment.row()["signature"], payment.row()["paid_token_id"]) == (signature, token.id)
    assert shop.events() == [(payment.id, "accepted")]
    assert shop.received(token) == 0
    shop.run(SendFunds)
    assert payment.states() == ("confirmed", "sent_funds")
    assert shop.received(token) == token.minor(token.price)


def test_recheck_waits_for_the_acceptance_commitment(shop):
    shop.fields["payment_acceptance_commitment"] = "finalized"
    shop.node.set_delays(processed=0, confirmed=0.4, finalized=13)
    payment = shop.payment()
    payment.pay("0.1", shop.sol)
    shop.node.advance_seconds(1)
    assert shop.run(RecheckPayments).skip_reasons == {"paid, but not at the acceptance commitment yet": 1}
    assert payment.states() == ("initiated", "created")
    shop.node.advance_seconds(13)
    shop.run(RecheckPayments)
    assert payment.states() == ("finalized", "processing_funds")


def test_an_expired_payment_that_is_paid_but_not_final_is_not_expired(shop):
    shop.fields["payment_acceptance_commitment"] = "finalized"
    shop.node.set_delays(processed=0, confirmed=0.4, finalized=13)
    payment = shop.payment(expires_in=-5)
    payment.pay("0.1", shop.sol, at=payment.expires_at - timedelta(seconds=1))
    shop.node.advance_seconds(1)
    shop.run(CloseExpiredPayments)
    assert payment.states() == ("initiated", "created")


def test_a_payment_does_not_expire_before_the_chain_has_reached_its_expiry(shop):
    """A payment in a block that the node has not shown yet may still be in time."""
    payment = shop.payment(expires_in=-5)
    shop.node.set_unix_time(payment.expires_at.timestamp() - 1)
    outcome = shop.run(CloseExpiredPayments)
    assert payment.states() == ("initiated", "created")
    assert "it may still be paid" in next(iter(outcome.skip_reasons))


@pytest.mark.parametrize("state", ["processing_payment", "processing_funds", "failed_to_send_funds"])
def test_everything_in_a_wallet_under_way_goes_to_the_receiver(shop, state):
    payment = shop.payment(status="confirmed", state=state)
    payment.pay("0.1", shop.sol)
    payment.pay("25", shop.usdc)
    payment.pay("3", shop.usdt)
    outcome = shop.run(SendFunds)

    assert payment.states() == ("confirmed", "sent_funds")
    assert [shop.received(token) for token in shop.tokens] == [100_000_000, 25_000_000, 3_000_000]
    assert shop.remains(payment) == 0
    assert outcome.numbers["lamports_swept"] == 100_000_000
    assert payment.wallet()["receiver_address"] == str(RECEIVER)


def test_a_wallet_that_is_marked_processing_and_paid_is_accepted_then_swept(shop):
    """The module writes processing_payment before it looks at the chain; a crash leaves the payment initiated."""
    payment = shop.payment(state="processing_payment")
    signature = payment.pay("25", shop.usdc)
    shop.run(SendFunds)
    assert payment.states() == ("confirmed", "sent_funds")
    assert payment.row()["signature"] == signature


def sweep_as_the_application(shop, payment, lamports):
    return shop.node.build.pay_sol(RECEIVER, lamports, payer=payment.key).signature


def test_an_empty_wallet_whose_earlier_transfer_landed_is_sent_with_that_transfer(shop):
    payment = shop.payment(status="confirmed", state="failed_to_send_funds")
    payment.pay("0.1", shop.sol)
    sweep_as_the_application(shop, payment, 100_000_000)
    outcome = shop.run(SendFunds)
    assert payment.states() == ("confirmed", "sent_funds")
    assert shop.remains(payment) == 0
    assert outcome.failed == 0
    assert shop.findings() == []


def test_an_empty_wallet_of_an_accepted_payment_without_any_transfer_is_reported_not_expired(shop):
    payment = shop.payment(status="confirmed", state="failed_to_send_funds")
    shop.maintain()
    assert payment.states() == ("confirmed", "failed_to_send_funds")
    assert shop.kinds() == ["no_transfer_found"]


def test_an_accepted_payment_in_an_expired_state_gets_the_right_one(shop):
    """What the module does to an empty wallet of a paid payment."""
    payment = shop.payment(status="finalized", state="payment_expired")
    payment.pay("0.1", shop.sol)
    sweep_as_the_application(shop, payment, 100_000_000)
    shop.run(CloseExpiredWallets)
    assert payment.states() == ("finalized", "sent_funds")


def test_late_funds_of_an_expired_payment_are_swept_reported_and_the_wallet_closed(shop):
    payment = shop.payment(expires_in=-3_600, status="expired", state="payment_expired")
    payment.pay("25", shop.usdc)
    shop.run(CloseExpiredWallets)
    assert payment.states() == CLOSED
    assert shop.received(shop.usdc) == 25_000_000
    assert shop.remains(payment) == 0
    assert shop.kinds() == ["late_payment"]


UNSETTLED = [
    "created",
    "received_funds",
    "processing_payment",
    "processing_funds",
    "failed_to_send_funds",
    "payment_expired",
]


@pytest.mark.parametrize("state", UNSETTLED)
def test_an_expired_payments_wallet_is_closed_whatever_state_it_was_left_in(shop, state):
    """The module lets payments expire first and then looks for their wallets among those not expired: all stay created."""
    empty = shop.payment(expires_in=-3_600, status="expired", state=state)
    late = shop.payment(expires_in=-3_600, status="expired", state=state)
    late.pay("0.1", shop.sol)
    outcome = shop.run(CloseExpiredWallets, scan_closed_days=0)
    assert [empty.states(), late.states()] == [CLOSED, CLOSED]
    assert (shop.remains(empty), shop.remains(late)) == (0, 0)
    assert shop.received(shop.sol) == 100_000_000
    assert shop.kinds() == ["late_payment"]
    assert outcome.done_kinds == {"close": 1, "sweep": 1}


@pytest.mark.parametrize("status", ["processed", "confirmed", "finalized"])
def test_an_accepted_payments_wallet_that_was_left_as_created_is_sent(shop, status):
    payment = shop.payment(status=status, state="created")
    payment.pay("0.1", shop.sol)
    shop.run(SendFunds)
    assert payment.states() == (status, "sent_funds")
    assert shop.received(shop.sol) == 100_000_000
    assert shop.remains(payment) == 0


@pytest.mark.parametrize("command", [SendFunds, CloseExpiredWallets])
def test_a_limit_holds_for_all_selections_together(shop, command):
    for status, state in (
        ("confirmed", "created"),
        ("confirmed", "processing_funds"),
        ("expired", "created"),
    ):
        for _ in range(2):
            shop.payment(expires_in=-3_600, status=status, state=state).pay("0.1", shop.sol)
    assert shop.run(command, limit=1).done_kinds == {"sweep": 1}


@pytest.mark.parametrize(
    ("status", "state", "kind"),
    [
        ("confirmed", "sent_funds", "funds_after_sent"),
        ("expired", "payment_expired_and_wallet_closed", "late_payment"),
    ],
)
def test_funds_that_arrive_after_the_end_are_found_swept_and_reported(shop, status, state, kind):
    payment = shop.payment(expires_in=-3_600, status=status, state=state, open_accounts=False)
    payment.pay("0.1", shop.sol)
    assert shop.run(CloseExpiredWallets, scan_closed_days=0).planned == 0
    shop.run(CloseExpiredWallets, scan_closed_days=1)
    assert payment.states() == (status, state)
    assert shop.received(shop.sol) == 100_000_000
    assert shop.kinds() == [kind]

    payment.pay("0.2", shop.sol)
    shop.run(CloseExpiredWallets, scan_closed_days=1)
    assert shop.received(shop.sol) == 300_000_000
    assert shop.kinds() == [kind, kind], "a second arrival is a finding of its own"


def test_the_second_run_of_everything_writes_only_its_outcome(shop, written):
    for expires_in, status, state, symbol in (
        (-60, "initiated", "created", None),
        (-60, "initiated", "created", "sol"),
        (1_800, "initiated", "created", "usdc"),
        (-60, "confirmed", "processing_funds", "usdc"),
        (-60, "expired", "payment_expired", "sol"),
    ):
        payment = shop.payment(expires_in=expires_in, status=status, state=state)
        if symbol:
            token = getattr(shop, symbol)
            payment.pay(token.price, token, at=payment.in_time() if expires_in < 0 else None)
    shop.run(RecheckPayments)
    shop.maintain()
    before = written()
    outcomes = [shop.run(RecheckPayments), *shop.maintain()]
    assert {table for table, rows in written().items() if rows != before.get(table, 0)} == {"cp_ops.job_run"}
    assert [outcome.planned for outcome in outcomes] == [0, 0, 0, 0]


def test_a_dry_run_plans_the_same_and_moves_nothing(shop, written):
    for _ in range(3):
        shop.payment(expires_in=-60).pay("0.05", shop.sol)
    transactions = len(shop.node.chain.landed)
    before = written()
    preview = shop.run(CloseExpiredPayments, dry_run=True)
    assert {table for table, rows in written().items() if rows != before.get(table, 0)} == {"cp_ops.job_run"}
    assert len(shop.node.chain.landed) == transactions
    real = shop.run(CloseExpiredPayments)
    assert (preview.planned, preview.plan_sha256) == (real.planned, real.plan_sha256)
    assert real.done == real.planned == 6
