"""Who is charged what: properties over amounts, currencies, partial payments and schedules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.finance.charges.anomaly import PastRun, cap_anomaly
from cp_ops.finance.charges.answers import AttemptState
from cp_ops.finance.charges.intents import ChargeIntent, charge_request, idempotency_key, may_ask_again
from cp_ops.finance.charges.plan import (
    CHARGE,
    Candidate,
    ChargeInvoice,
    Unfinished,
    plan_charges,
)
from cp_ops.runtime.errors import CapExceededError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DUE = Candidate(
    id=1,
    firm_id=7,
    status="sent",
    total_amount=Decimal("200.00"),
    amount_paid=Decimal("0.00"),
    currency="USD",
    due_date=date(2026, 11, 1),
    autopay_next_charge_at=None,
    payment_retry_count=0,
    dunning_paused=False,
    stripe_invoice_id="",
    payment_method="pm_1",
    client_payment_method="pm_1",
    client_autopay=True,
    client_status="active",
    disputed=False,
    attempts=0,
    open_intent="",
    last_code="",
    hard_declined=False,
)
TODAY = {7: NOW.date()}


def plan(*candidates, unfinished=(), now=NOW, today=TODAY):
    return plan_charges(candidates, unfinished, today=today, now=now)


@st.composite
def candidates(draw):
    currency = draw(st.sampled_from(["USD", "EUR", "JPY", "KRW", "KWD", "BHD"]))
    places = 0 if currency in ("JPY", "KRW") else 2
    total = Decimal(draw(st.integers(1, 10**8))).scaleb(-places)
    paid = (total * draw(st.integers(0, 100)) / 100).quantize(Decimal(1).scaleb(-places))
    return replace(
        DUE,
        id=draw(st.integers(1, 10**6)),
        currency=currency,
        total_amount=total,
        amount_paid=min(paid, total - Decimal(1).scaleb(-places)),
        attempts=draw(st.integers(0, 4)),
        payment_retry_count=draw(st.integers(0, 5)),
        disputed=draw(st.booleans()),
        client_autopay=draw(st.booleans()),
        open_intent=draw(st.sampled_from(["", "unknown", "processing"])),
        autopay_next_charge_at=draw(
            st.none() | st.integers(-500, 500).map(lambda h: NOW + timedelta(hours=h))
        ),
        due_date=draw(st.dates(date(2026, 10, 1), date(2026, 12, 31))),
    )


@given(st.lists(candidates(), max_size=20, unique_by=lambda c: c.id))
def test_every_invoice_is_charged_its_balance_or_passed_over_with_a_reason(given_candidates):
    found = plan(*given_candidates)
    charges = found.plan.of_kind(CHARGE)
    assert len(charges) + len(found.plan.skips) + len(found.broken) == len(given_candidates)
    by_id = {candidate.id: candidate for candidate in given_candidates}
    for action in charges:
        candidate = by_id[int(action.data["invoice"])]
        assert action.payload(ChargeInvoice).money.amount == candidate.total_amount - candidate.amount_paid
        assert not candidate.disputed
        assert not candidate.open_intent
        assert candidate.client_autopay
        assert candidate.payment_retry_count <= 3
        assert (candidate.autopay_next_charge_at or NOW) <= NOW
        assert candidate.autopay_next_charge_at or candidate.due_date <= NOW.date()
    assert all(skip.reason for skip in found.plan.skips)


@given(st.lists(candidates(), max_size=8, unique_by=lambda c: c.id), st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_the_rows(given_candidates, chance):
    shuffled = list(given_candidates)
    chance.shuffle(shuffled)
    assert plan(*given_candidates).plan.sha256 == plan(*shuffled).plan.sha256


@given(candidates())
def test_another_amount_method_or_attempt_is_another_plan(candidate):
    base = replace(
        candidate,
        autopay_next_charge_at=None,
        due_date=date(2026, 11, 1),
        disputed=False,
        open_intent="",
        client_autopay=True,
        payment_retry_count=0,
    )
    first = plan(base).plan.sha256
    for change in (
        {"amount_paid": base.total_amount - 1},
        {"payment_method": "pm_2"},
        {"attempts": base.attempts + 1},
    ):
        other = replace(base, **change)
        if other != base and other.total_amount > other.amount_paid >= 0:
            assert plan(other).plan.sha256 != first


def test_an_amount_that_the_currency_cannot_express_is_broken_and_stops_no_other():
    found = plan(replace(DUE, currency="JPY", total_amount=Decimal("10.50")), replace(DUE, id=2))
    assert [target for target, _ in found.broken] == ["finance_invoices:1"]
    assert len(found.plan.actions) == 1


@pytest.mark.parametrize(
    ("zone_day", "planned"),
    [(date(2026, 11, 20), 0), (date(2026, 11, 21), 1)],
    ids=["yesterday there", "today there"],
)
def test_the_due_date_is_the_firms_day(zone_day, planned):
    found = plan(replace(DUE, due_date=date(2026, 11, 21)), today={7: zone_day})
    assert len(found.plan.actions) == planned


def test_a_replaced_card_is_used_after_a_hard_decline_only():
    replaced = replace(DUE, client_payment_method="pm_new")
    assert plan(replaced).plan.actions[0].data["payment_method"] == "pm_1"
    declined = replace(replaced, hard_declined=True)
    assert plan(declined).plan.actions[0].data["payment_method"] == "pm_new"
    assert not plan(replace(declined, client_payment_method="pm_1")).plan.actions


def test_unfinished_attempts_come_first_and_are_part_of_the_plan():
    found = plan(DUE, unfinished=[Unfinished(5, 7, 9, 1, AttemptState.UNKNOWN)])
    assert [action.kind for action in found.plan.actions] == ["resolve", "charge"]


# -- the anomaly cap -------------------------------------------------------------------------------------------------------


def many(count, total="10.00"):
    return plan(*(replace(DUE, id=number, total_amount=Decimal(total)) for number in range(1, count + 1)))


USUAL = [PastRun({"USD": 10}, {"USD": 10_000})] * 5


@pytest.mark.parametrize(("count", "stops"), [(30, False), (31, True)])
def test_more_than_three_times_the_median_is_unusual(count, stops):
    if stops:
        with pytest.raises(CapExceededError, match="expected_plan sha256:"):
            cap_anomaly(many(count), USUAL, least=5)
    else:
        cap_anomaly(many(count), USUAL, least=5)


def test_an_unusual_sum_is_unusual_too():
    with pytest.raises(CapExceededError, match="times what is usual"):
        cap_anomaly(many(10, "50.00"), USUAL, least=5)


def test_few_charges_of_a_usual_size_and_a_short_history_are_never_unusual():
    cap_anomaly(many(5), [PastRun({"USD": 1}, {"USD": 1_000})] * 5, least=5)
    cap_anomaly(many(5, "60.00"), USUAL, least=5)
    cap_anomaly(many(1000), USUAL[:4], least=5)


def test_few_charges_of_an_unusual_size_are_unusual():
    with pytest.raises(CapExceededError, match=r"9,999\.00 USD, more than 3 times"):
        cap_anomaly(many(1, "9999.00"), USUAL, least=5)


def test_a_currency_is_measured_by_itself():
    mixed = [PastRun({"USD": 10, "EUR": 1}, {"USD": 10_000, "EUR": 100_000})] * 5
    with pytest.raises(CapExceededError):
        cap_anomaly(many(4, "100.00"), mixed, least=5)
    cap_anomaly(plan(replace(DUE, currency="EUR", total_amount=Decimal("1500.00"))), mixed, least=5)


@pytest.mark.parametrize(
    ("capped", "stops"), [({"counts": False}, "times what is usual"), ({"sums": False}, "40 charges")]
)
def test_what_the_operator_has_capped_is_not_measured_and_the_rest_is(capped, stops):
    with pytest.raises(CapExceededError, match=stops) as raised:
        cap_anomaly(many(40), USUAL, least=5, **capped)
    assert ";" not in str(raised.value).split(". Nothing")[0]
    cap_anomaly(many(40), USUAL, least=5, counts=False, sums=False)


# -- the request -----------------------------------------------------------------------------------------------------------

INTENT = ChargeIntent(
    3, 7, 1, 2, idempotency_key(1, 2), 20000, "USD", "pm_1", "cus_1", "", "planned", "", "", None
)


@given(st.sampled_from(list(AttemptState)), st.text(max_size=5), st.datetimes(timezones=st.just(UTC)))
def test_the_request_is_the_same_to_the_letter_whenever_it_is_asked_again(state, code, moment):
    """Stripe refuses a key that comes with another request."""
    later = replace(INTENT, state=state.value, code=code, submitted_at=moment, payment_intent="pi_1", id=99)
    assert charge_request(later) == charge_request(INTENT)


def test_the_key_names_invoice_and_attempt_and_nothing_else():
    assert idempotency_key(1, 2) == "cp_ops-charge-1-2"
    assert len({idempotency_key(i, a) for i in range(1, 120) for a in range(1, 120)}) == 119 * 119


@pytest.mark.parametrize(
    ("hours", "again"), [(0, True), (22.9, True), (23, False), (24, False), (1000, False)]
)
def test_the_same_key_is_used_for_less_than_a_day(hours, again):
    assert may_ask_again(replace(INTENT, submitted_at=NOW - timedelta(hours=hours)), NOW) is again


def test_a_key_that_another_request_holds_is_not_used_again():
    assert not may_ask_again(replace(INTENT, submitted_at=NOW, code="idempotency_error"), NOW)
