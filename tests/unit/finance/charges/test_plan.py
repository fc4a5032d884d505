"""Who is charged what: properties over amounts, currencies, partial payments and schedules."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.finance.charges.answers import AttemptState
from cp_ops.finance.charges.plan import CHARGE, ChargeInvoice, Unfinished
from tests.unit.finance.charges.charge_rows import DUE, NOW, plan


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
