"""The planner, without a chain or a database: what the caps, the fee and the chain's clock decide."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cp_ops.runtime.errors import CapExceededError
from cp_ops.solana.accounts import TOKEN_PROGRAM, Holding, Mint
from cp_ops.solana.cases import Case
from cp_ops.solana.chain import Surroundings
from cp_ops.solana.plan import Terms, plan_wallets
from cp_ops.solana.verdicts import Late, Paid, Pending, Underpaid, Unpaid
from cp_ops.solana.wallets import Price, WalletOnChain, WalletRow

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
USDC = "usdc-mint"
AROUND = Surroundings({USDC: Mint(USDC, TOKEN_PROGRAM, 6)}, (), "receiver", 10**9, {USDC: ("ata", True)})
TERMS = Terms(NOW, int(NOW.timestamp()), AROUND)
PRICES = (Price(1, None, Decimal("0.1")), Price(2, USDC, Decimal(25)))
EXPIRED = WalletRow(7, "created", 70, "wallet", "initiated", NOW - timedelta(hours=1), PRICES)
PAID = Paid(1, None, 10**8, "signature", NOW - timedelta(hours=2))


def holding(amount=0, **changes):
    return replace(Holding("account", "wallet", USDC, TOKEN_PROGRAM, amount, 2_039_280), **changes)


def plan(row=EXPIRED, chain=None, verdict=None, transfer=None, terms=TERMS):
    return plan_wallets([Case(row, chain or WalletOnChain("wallet"), verdict, transfer)], terms)


def kinds(made):
    return [action.kind for action in made.plan.actions]


def test_empty_and_never_opened_is_expired_and_marked_closed():
    made = plan(verdict=Unpaid())
    assert kinds(made) == ["expire", "mark_payment_expired_and_wallet_closed"]


@pytest.mark.parametrize(
    ("verdict", "kind"), [(Late(None, 10**8), "late_payment"), (Underpaid(), "underpaid")]
)
def test_money_of_an_expired_payment_is_swept_and_reported(verdict, kind):
    made = plan(chain=WalletOnChain("wallet", 10**7, (holding(),)), verdict=verdict)
    assert kinds(made) == ["expire", "sweep"]
    assert [finding.kind for finding in made.findings] == [kind]
    assert (made.moves[0].lamports, made.moves[0].rent) == (10**7, 2_039_280)


def test_a_second_arrival_is_a_finding_of_its_own():
    chain = WalletOnChain("wallet", 10**8)
    row = replace(EXPIRED, status="expired", state="payment_expired_and_wallet_closed")
    first, second = plan(row, chain), plan(replace(row, moves=1), chain)
    assert [made.findings[0].subject for made in (first, second)] == [
        "solana_payment:70",
        "solana_payment:70:2",
    ]


def test_the_chains_clock_decides_and_not_ours():
    behind = replace(TERMS, chain_time=int((NOW - timedelta(hours=1)).timestamp()))
    assert kinds(plan(verdict=Unpaid(), terms=behind)) == []
    assert kinds(plan(verdict=Unpaid(), terms=replace(TERMS, chain_time=None))) == []
    just = replace(TERMS, chain_time=int((NOW - timedelta(hours=1)).timestamp()) + 1)
    assert kinds(plan(verdict=Unpaid(), terms=just))[0] == "expire"


@pytest.mark.parametrize(("minutes", "kinds_found"), [(5, []), (90, ["history_missing"])])
def test_a_payment_that_no_history_shows_is_reported_and_never_expired(minutes, kinds_found):
    row = replace(EXPIRED, expires_at=NOW - timedelta(minutes=minutes))
    made = plan(row, WalletOnChain("wallet", 10**8), Pending())
    assert kinds(made) == []
    assert [finding.kind for finding in made.findings] == kinds_found


def test_a_payment_on_its_way_to_the_acceptance_commitment_is_no_missing_history():
    made = plan(verdict=Pending(awaited=True))
    assert kinds(made) == []
    assert made.findings == []


def held(row, chain, verdict):
    return plan_wallets([Case(row, chain, verdict, hold="changed")], TERMS)


def test_a_wallet_on_hold_is_neither_moved_nor_expired_but_may_be_accepted():
    chain = WalletOnChain("wallet", 10**8, (holding(),))
    assert kinds(held(EXPIRED, chain, Unpaid())) == []
    assert kinds(held(EXPIRED, chain, Late(None, 10**8))) == []
    accepted = held(EXPIRED, chain, PAID)
    assert kinds(accepted) == ["accept"]
    for status, state in (("confirmed", "processing_funds"), ("expired", "payment_expired")):
        made = held(replace(EXPIRED, status=status, state=state), chain, None)
        assert (kinds(made), made.findings) == ([], [])


@pytest.mark.parametrize(
    ("verdict", "kind", "amounts"),
    [
        (Late(None, 10**8, ((None, 10**8),)), "late_payment", {"lamports": "100000000"}),
        (Underpaid(((USDC, 5), (None, 3))), "underpaid", {"lamports": "3", USDC: "5"}),
    ],
)
def test_money_that_came_wrong_and_has_left_already_is_reported_with_its_amounts(verdict, kind, amounts):
    made = plan(verdict=verdict)
    assert kinds(made) == ["expire", "mark_payment_expired_and_wallet_closed"]
    assert [(found.kind, found.details["amounts"]) for found in made.findings] == [(kind, amounts)]


@pytest.mark.parametrize("state", ["created", "processing_payment", "sent_funds", "payment_expired"])
def test_an_accepted_payments_empty_wallet_is_marked_sent_from_any_state_if_its_transfer_is_known(state):
    row = replace(EXPIRED, state=state)
    assert kinds(plan(row, verdict=PAID, transfer="sweep")) == ["accept", "mark_sent_funds"]
    lost = plan(row, verdict=PAID)
    assert (kinds(lost), [found.kind for found in lost.findings]) == (["accept"], ["no_transfer_found"])


def test_an_accepting_command_moves_nothing():
    accepting = replace(TERMS, moves=False)
    assert kinds(plan(chain=WalletOnChain("wallet", 10**8), verdict=PAID, terms=accepting)) == ["accept"]
    assert kinds(plan(verdict=Unpaid(), terms=accepting)) == []


def test_what_is_worth_less_than_its_fee_is_left_with_that_reason():
    made = plan(replace(EXPIRED, status="expired", state="payment_expired"), WalletOnChain("wallet", 5_000))
    assert kinds(made) == []
    assert "worth less than the fee" in made.plan.skips[0].reason


def test_a_token_is_moved_however_little_sol_is_there():
    row = replace(EXPIRED, status="confirmed", state="processing_funds")
    made = plan(row, WalletOnChain("wallet", 0, (holding(1, lamports=1_000),)))
    assert kinds(made) == ["sweep"]
    assert made.moves[0].amounts() == {USDC: 1}


def test_a_wallet_in_an_undecided_transaction_is_not_touched():
    made = plan(replace(EXPIRED, in_flight=True), WalletOnChain("wallet", 10**8), Unpaid())
    assert kinds(made) == []


def test_the_price_is_rounded_up_to_minor_units():
    assert Price(1, None, Decimal("0.0000000001")).minor_units(9) == 1
    assert Price(1, USDC, Decimal("25.000000000000000000")).minor_units(6) == 25_000_000


@pytest.mark.parametrize(
    ("lamports", "tokens", "setting"),
    [(10**8 - 1, 25, "solana_max_sweep_lamports"), (10**8, 24, "solana_max_sweep_tokens")],
)
def test_more_than_a_cap_is_refused_naming_the_setting(lamports, tokens, setting):
    row = replace(EXPIRED, status="confirmed", state="processing_funds")
    made = plan(row, WalletOnChain("wallet", 10**8, (holding(25_000_000),)))
    made.require_within(10**8, 25, AROUND)
    with pytest.raises(CapExceededError, match=f"raise {setting}"):
        made.require_within(lamports, tokens, AROUND)
