"""How payments are judged when readings differ, money moves meanwhile, or the history has gaps: never a payment lost."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cp_ops.hooks.solana_rpc import SolanaRpc
from cp_ops.runtime.errors import RowsFailedError
from cp_ops.solana.job import CloseExpiredPayments, CloseExpiredWallets, RecheckPayments, SendFunds
from tests.integration.solana.conftest import RECEIVER

CLOSED = ("expired", "payment_expired_and_wallet_closed")
SENT = ("confirmed", "sent_funds")


def sweep_as_the_application(shop, payment, symbol, amount):
    token = getattr(shop, symbol)
    if token.mint is None:
        return shop.node.build.pay_sol(RECEIVER, token.minor(amount), payer=payment.key).signature
    mint = shop.mint_of(token)
    return shop.node.build.pay_tokens(RECEIVER, mint, token.minor(amount), payer=payment.key).signature


def during(monkeypatch, call, action, *, time=1):
    """Do something as the n-th call of a method of the node's client begins."""
    original = getattr(SolanaRpc, call)
    calls = []

    def meanwhile(self, *args, **options):
        calls.append(call)
        if len(calls) == time:
            action()
        return original(self, *args, **options)

    monkeypatch.setattr(SolanaRpc, call, meanwhile)
    return calls


# -- money that the application has moved on already -----------------------------------------------------------------


@pytest.mark.parametrize("state", ["created", "processing_payment", "failed_to_send_funds", "sent_funds"])
@pytest.mark.parametrize(("symbol", "price"), [("sol", "0.1"), ("usdc", "25")])
def test_a_payment_in_time_whose_money_the_application_has_sent_on_is_accepted(shop, symbol, price, state):
    """The application died after its transfer, before it said so."""
    payment = shop.payment(expires_in=-60, state=state)
    paid = payment.pay(price, getattr(shop, symbol), at=payment.in_time())
    sweep_as_the_application(shop, payment, symbol, price)
    outcome = shop.run(CloseExpiredPayments)
    assert payment.states() == SENT
    assert payment.row()["signature"] == paid
    assert shop.events() == [(payment.id, "accepted")]
    assert shop.findings() == []
    assert shop.remains(payment) == 0
    assert shop.received(getattr(shop, symbol)) == getattr(shop, symbol).minor(price)
    assert outcome.failed == 0


def test_recheck_accepts_it_and_sending_finds_the_transfer(shop):
    payment = shop.payment(expires_in=-60, state="processing_payment")
    payment.pay("0.1", shop.sol, at=payment.in_time())
    sweep_as_the_application(shop, payment, "sol", "0.1")
    shop.run(RecheckPayments)
    assert payment.states() == ("confirmed", "processing_funds")
    shop.run(SendFunds)
    assert payment.states() == SENT
    assert shop.findings() == []


def test_it_is_accepted_too_when_something_small_came_in_since(shop):
    payment = shop.payment(expires_in=-60, state="processing_payment")
    payment.pay("0.1", shop.sol, at=payment.in_time())
    sweep_as_the_application(shop, payment, "sol", "0.1")
    payment.pay("0.01", shop.sol, at=payment.too_late())
    shop.run(CloseExpiredPayments)
    assert payment.states() == SENT
    assert shop.received(shop.sol) == 110_000_000


@pytest.mark.parametrize(
    ("amount", "moment", "kind"), [("0.1", "too_late", "late_payment"), ("0.04", "in_time", "underpaid")]
)
def test_money_sent_on_that_came_late_or_short_expires_with_a_finding(shop, amount, moment, kind):
    payment = shop.payment(expires_in=-60, state="processing_payment")
    payment.pay(amount, shop.sol, at=getattr(payment, moment)())
    sweep_as_the_application(shop, payment, "sol", amount)
    shop.run(CloseExpiredPayments)
    assert payment.states() == CLOSED
    ((found, subject, details),) = shop.findings()
    assert (found, subject) == (kind, f"solana_payment:{payment.id}")
    assert details["amounts"] == {"lamports": str(shop.sol.minor(amount))}


def test_money_in_time_that_went_to_somebody_else_is_accepted_and_reported(shop):
    payment = shop.payment(expires_in=-60, state="processing_payment")
    payment.pay("0.1", shop.sol, at=payment.in_time())
    shop.node.build.pay_sol(shop.chain.fee_payer.pubkey(), 100_000_000, payer=payment.key)
    shop.run(CloseExpiredPayments)
    assert payment.states() == ("confirmed", "processing_funds")
    assert shop.kinds() == ["no_transfer_found"]


def test_a_wallet_marked_processing_that_nobody_paid_expires_at_the_price_of_one_call(shop):
    payment = shop.payment(expires_in=-60, state="processing_payment")
    shop.run(CloseExpiredPayments)
    assert payment.states() == CLOSED
    assert shop.findings() == []
    assert (shop.node.calls["getSignaturesForAddress"], shop.node.calls["getTransaction"]) == (1, 0)


def test_of_many_unpaid_wallets_left_as_created_those_without_their_accounts_are_asked(shop):
    """A mark that was rolled back leaves no sign in the row; closed token accounts are one on the chain."""
    payments = [shop.payment(expires_in=-60) for _ in range(25)]
    swept = shop.payment(expires_in=-60, open_accounts=False)
    swept.pay("0.1", shop.sol, at=swept.in_time())
    sweep_as_the_application(shop, swept, "sol", "0.1")
    shop.run(CloseExpiredPayments)
    assert swept.states() == SENT
    assert {payment.states() for payment in payments} == {CLOSED}
    assert shop.node.calls["getSignaturesForAddress"] < 10


# -- two commitments -------------------------------------------------------------------------------------------------


@pytest.fixture
def slow(shop):
    """A node that takes 13 seconds until a block is final."""
    shop.node.set_delays(processed=0, confirmed=0.4, finalized=13)
    return shop


def test_with_transfers_at_finalized_a_payment_of_the_last_second_is_accepted_and_sent_once_final(slow):
    slow.fields["commitment"] = "finalized"
    payment = slow.payment(expires_in=-5)
    slow.node.advance_seconds(20)
    payment.pay("0.1", slow.sol, at=payment.expires_at - timedelta(seconds=1))
    slow.node.advance_seconds(3)
    slow.run(CloseExpiredPayments)
    assert payment.states() == ("confirmed", "processing_funds")
    slow.run(SendFunds)
    assert payment.states() == ("confirmed", "processing_funds")
    assert slow.kinds() == [], "a wallet whose money is not final yet is not missing a transfer"
    slow.node.advance_seconds(30)
    slow.node.set_delays(processed=0, confirmed=0, finalized=0)
    slow.run(SendFunds)
    assert payment.states() == SENT
    assert slow.received(slow.sol) == 100_000_000
    assert slow.events() == [(payment.id, "accepted")]


def test_a_payment_expires_only_when_the_slower_commitment_has_passed_its_time(slow):
    slow.fields["commitment"] = "finalized"
    payment = slow.payment(expires_in=-5)
    slow.node.set_unix_time(payment.expires_at.timestamp() - 1)
    slow.node.advance_seconds(4)
    outcome = slow.run(CloseExpiredPayments)
    assert payment.states() == ("initiated", "created")
    assert any("it may still be paid" in reason for reason in outcome.skip_reasons)


@pytest.mark.parametrize("command", [RecheckPayments, CloseExpiredPayments])
@pytest.mark.parametrize("second_in_time", [True, False])
def test_with_acceptance_at_finalized_parts_count_once_all_are_final(slow, command, second_in_time):
    slow.fields["payment_acceptance_commitment"] = "finalized"
    payment = slow.payment(expires_in=-5)
    payment.pay("0.06", slow.sol, at=payment.expires_at - timedelta(seconds=100))
    slow.node.advance_seconds(20)
    moment = payment.expires_at + timedelta(seconds=-1 if second_in_time else 1)
    second = payment.pay("0.04", slow.sol, at=moment)
    slow.node.advance_seconds(1)
    outcome = slow.run(command)
    assert payment.states() == ("initiated", "created")
    assert outcome.skip_reasons == {"paid, but not at the acceptance commitment yet": 1}
    assert slow.findings() == []
    slow.node.advance_seconds(30)
    slow.node.set_delays(processed=0, confirmed=0, finalized=0)
    slow.run(CloseExpiredPayments)
    if second_in_time:
        assert payment.states() == ("finalized", "sent_funds")
        assert payment.row()["signature"] == second
    else:
        assert payment.states() == CLOSED
        assert slow.kinds() == ["late_payment"]


# -- money that comes in during a run --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["block_time", "histories"])
@pytest.mark.parametrize("in_time", [True, False])
def test_money_that_comes_in_while_a_run_looks_is_judged(shop, monkeypatch, call, in_time):
    payment = shop.payment(expires_in=-60)

    def pay():
        payment.pay("0.1", shop.sol, at=payment.in_time() if in_time else payment.too_late())

    with monkeypatch.context() as patch:
        calls = during(patch, call, pay)
        outcome = shop.run(CloseExpiredPayments)
    assert calls
    if call == "histories":
        assert outcome.skip_reasons == {"changed while it was looked at": 1}
        assert payment.states() == ("initiated", "created")
        shop.run(CloseExpiredPayments)
    assert payment.states() == (SENT if in_time else CLOSED)
    assert shop.kinds() == ([] if in_time else ["late_payment"])
    assert shop.received(shop.sol) == 100_000_000
    assert shop.events() == [(payment.id, "accepted" if in_time else "expired")]


@pytest.mark.parametrize(("symbol", "price"), [("sol", "0.1"), ("usdc", "25")])
def test_money_that_comes_in_before_the_signing_is_reported_and_swept(shop, monkeypatch, symbol, price):
    payment = shop.payment(expires_in=-60)
    token = getattr(shop, symbol)
    during(monkeypatch, "latest_blockhash", lambda: payment.pay(price, token, at=payment.too_late()))
    known = []
    original = SolanaRpc.latest_blockhash

    def look(self, commitment):
        known.append(shop.kinds())
        return original(self, commitment)

    monkeypatch.setattr(SolanaRpc, "latest_blockhash", look)
    shop.run(CloseExpiredPayments)
    assert payment.states() == CLOSED
    assert shop.received(token) == token.minor(price)
    assert payment.wallet()["receiver_address"] == str(RECEIVER)
    ((kind, subject, details),) = shop.findings()
    assert kind == "late_payment"
    assert subject.startswith(f"solana_payment:{payment.id}")
    assert details["amounts"] == {token.mint or "lamports": str(token.minor(price))}
    assert known[0] == []
    assert known[-1] == ["late_payment"], "written down before anything is signed for it"


def test_a_second_arrival_in_one_run_is_a_finding_of_its_own_with_its_own_amount(shop, monkeypatch):
    payment = shop.payment(expires_in=-60)
    payment.pay("0.04", shop.sol, at=payment.too_late())
    during(monkeypatch, "latest_blockhash", lambda: payment.pay("0.1", shop.sol, at=payment.too_late()))
    shop.run(CloseExpiredPayments)
    assert payment.states() == CLOSED
    assert shop.received(shop.sol) == 140_000_000
    assert [(kind, subject, details["amounts"]) for kind, subject, details in shop.findings()] == [
        ("underpaid", f"solana_payment:{payment.id}", {"lamports": "40000000"}),
        ("late_payment", f"solana_payment:{payment.id}:2", {"lamports": "100000000"}),
    ]


def test_money_that_comes_in_after_an_accepted_payment_was_sent_is_reported(shop, monkeypatch):
    payment = shop.payment(status="confirmed", state="processing_funds")
    payment.pay("0.1", shop.sol)
    during(monkeypatch, "latest_blockhash", lambda: payment.pay("0.2", shop.sol))
    shop.run(SendFunds)
    assert payment.states() == SENT
    assert shop.received(shop.sol) == 300_000_000
    assert [(kind, details["amounts"]) for kind, _, details in shop.findings()] == [
        ("funds_after_sent", {"lamports": "200000000"})
    ]


def test_a_cap_holds_for_money_that_comes_in_during_the_run(shop, monkeypatch):
    """What is above it stays in its wallet, which keeps its state; the next run sees it in its plan."""
    shop.runner = shop.runner.with_settings(solana_max_sweep_lamports=150_000_000)
    payment = shop.payment(expires_in=-60)
    payment.pay("0.04", shop.sol, at=payment.too_late())
    other = shop.payment(expires_in=-60)
    with monkeypatch.context() as patch:
        during(patch, "latest_blockhash", lambda: payment.pay("0.12", shop.sol, at=payment.too_late()))
        with pytest.raises(RowsFailedError, match="solana_max_sweep_lamports=150000000"):
            shop.run(CloseExpiredPayments)
    assert shop.received(shop.sol) == 40_000_000
    assert payment.states() == ("expired", "payment_expired")
    assert other.states() == CLOSED
    assert shop.kinds() == ["late_payment", "underpaid"]
    shop.run(CloseExpiredWallets)
    assert shop.received(shop.sol) == 160_000_000
    assert payment.states() == CLOSED
    assert shop.kinds() == ["late_payment", "underpaid"], "the same arrival is not reported twice"


# -- histories with gaps ---------------------------------------------------------------------------------------------


def test_a_transaction_that_the_node_does_not_give_leaves_the_payment_undecided(shop):
    payment = shop.payment(expires_in=-60)
    paid = payment.pay("0.1", shop.sol, at=payment.in_time())
    payment.pay("0.1", shop.sol, at=payment.too_late())
    lacking = shop.node.faults.add("null_result", method="getTransaction", count=1)
    shop.run(CloseExpiredPayments)
    assert lacking.hits == 1
    assert payment.states() == ("initiated", "created")
    assert shop.events() == []
    shop.run(CloseExpiredPayments)
    assert payment.states() == SENT
    assert payment.row()["signature"] == paid


def test_a_missing_transfer_is_not_claimed_while_a_transaction_cannot_be_read(shop):
    payment = shop.payment(status="confirmed", state="failed_to_send_funds")
    payment.pay("0.1", shop.sol)
    shop.node.build.pay_sol(shop.chain.fee_payer.pubkey(), 100_000_000, payer=payment.key)
    shop.node.faults.add("null_result", method="getTransaction", count=1)
    outcome = shop.run(SendFunds)
    assert outcome.skip_reasons == {"a transaction in its history could not be read": 1}
    assert shop.findings() == []
    shop.run(SendFunds)
    assert shop.kinds() == ["no_transfer_found"]
    shop.node.faults.add("null_result", method="getTransaction", count=1)
    shop.run(SendFunds)
    assert shop.kinds() == ["no_transfer_found"], "nor taken back by a run that could not tell"


@pytest.mark.parametrize("second_in_time", [True, False])
def test_a_price_split_over_two_accounts_of_a_mint_is_judged_by_both(shop, second_in_time):
    payment = shop.payment(expires_in=-7_200)
    mint = shop.mint_of(shop.usdc)
    other = shop.node.build.create_token_account(payment.key.pubkey(), mint)
    payment.pay("15", shop.usdc, at=payment.in_time() - timedelta(seconds=60))
    shop.chain.at(payment.in_time() if second_in_time else payment.too_late())
    second = shop.node.build.pay_tokens(other, mint, 10_000_000).signature
    shop.chain.at(shop.world.now)
    shop.run(CloseExpiredPayments)
    assert payment.states() == (SENT if second_in_time else CLOSED)
    assert payment.row()["signature"] == (second if second_in_time else None)
    assert shop.kinds() == ([] if second_in_time else ["late_payment"])
    assert shop.received(shop.usdc) == 25_000_000
    assert shop.node.ledger.lamports_of(other) == 0
