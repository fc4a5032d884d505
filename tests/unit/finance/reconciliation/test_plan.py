"""The comparison with Stripe, as properties: what agrees finds nothing, what differs finds its kind."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.finance.reconciliation.invoices import LocalInvoice, StripeInvoice, StripePayment
from cp_ops.finance.reconciliation.kinds import KINDS
from cp_ops.finance.reconciliation.plan import EXPECTED, compare
from cp_ops.finance.reconciliation.staged import link_row
from cp_ops.runtime.money import Money

AT = int(datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp())


def payment(amount, *, number=1, status="succeeded", currency="usd", **changes):
    received = amount if status == "succeeded" else 0
    base = StripePayment(
        f"pi_{number}", status, currency, amount, received, 0, AT if received else None, settles_later=False
    )
    return replace(base, **changes)


def local(status="paid", total="100.00", *, paid=None, currency="USD", payments=(), invoice=None, **changes):
    paid = paid if paid is not None else total if status == "paid" else "0.00"
    base = LocalInvoice(
        id=1, firm_id=7, status=status, total_amount=Decimal(total), amount_paid=Decimal(paid), currency=currency,
        paid_date=date(2026, 11, 1) if status == "paid" else None, stripe_invoice_id=invoice.id if invoice else "",
        stripe_payment_intent_id=payments[0].id if payments else "", paid_by_other_means=Decimal(0), timezone="UTC",
        invoice=invoice, payments=tuple(payments),
    )  # fmt: skip
    return replace(base, **changes)


def kinds(found):
    return [mismatch.kind for mismatch in found]


def in_stripe(amount, currency):
    return Money.of(amount, currency).for_stripe()


AMOUNTS = st.tuples(st.sampled_from(["USD", "EUR", "JPY", "KWD", "ISK"]), st.integers(2, 10**7))


@given(AMOUNTS, st.integers(1, 5))
def test_a_paid_invoice_whose_payments_add_up_agrees(given_amount, parts):
    currency, total = given_amount
    amount = in_stripe(Decimal(total), currency)
    unit = in_stripe(Decimal(1), currency)
    shares = [unit] * (min(parts, total) - 1)
    shares.append(amount - sum(shares))
    payments = [payment(share, number=n, currency=currency.lower()) for n, share in enumerate(shares)]
    assert compare(local(total=f"{total}.00", currency=currency, payments=payments)) == []


@given(AMOUNTS, st.integers(1, 10**6))
def test_any_surplus_is_overpaid_and_any_gap_underpaid(given_amount, difference):
    currency, total = given_amount
    amount, change = (in_stripe(Decimal(n), currency) for n in (total, difference))
    more = local(
        total=f"{total}.00", currency=currency, payments=[payment(amount + change, currency=currency.lower())]
    )
    assert kinds(compare(more)) == ["overpaid"]
    if change < amount:
        less = local(
            total=f"{total}.00",
            currency=currency,
            payments=[payment(amount - change, currency=currency.lower())],
        )
        assert "underpaid" in kinds(compare(less))


@given(st.integers(1, 99_99))
def test_what_came_by_other_means_counts(other):
    rest = 100_00 - other
    invoice = local(payments=[payment(rest)], paid_by_other_means=Decimal(other) / 100)
    assert compare(invoice) == []


def test_two_whole_payments_are_a_duplicate_and_two_parts_are_not():
    assert kinds(compare(local(payments=[payment(100_00), payment(100_00, number=2)]))) == [
        "duplicate_payment"
    ]
    assert compare(local(payments=[payment(60_00), payment(40_00, number=2)])) == []
    refunded = [payment(100_00), payment(100_00, number=2, refunded=100_00)]
    assert compare(local(payments=refunded)) == []


@pytest.mark.parametrize(("currency", "stripe"), [("USD", "eur"), ("JPY", "usd")])
def test_another_currency_is_the_only_finding(currency, stripe):
    assert kinds(compare(local(currency=currency, payments=[payment(1, currency=stripe)]))) == [
        "currency_mismatch"
    ]


@given(st.sampled_from(sorted(EXPECTED)))
def test_a_reference_that_stripe_does_not_know_is_missing_whatever_the_status(status):
    found = compare(local(status=status, stripe_payment_intent_id="pi_gone"))
    assert kinds(found) == ["missing_in_stripe"]


@pytest.mark.parametrize(
    ("status", "payments", "agrees"),
    [
        ("sent", [payment(100_00, status="requires_payment_method")], True),
        ("sent", [payment(100_00, status="canceled")], True),
        ("sent", [payment(100_00)], False),
        ("overdue", [payment(100_00, status="processing")], True),
        ("failed", [payment(100_00, status="requires_payment_method")], True),
        ("failed", [payment(100_00, status="processing")], True),
        ("failed", [payment(100_00)], False),
        ("cancelled", [payment(100_00)], False),
        ("cancelled", [payment(100_00, refunded=100_00)], True),
        ("refunded", [payment(100_00, refunded=100_00)], True),
        ("refunded", [payment(100_00, refunded=50_00)], False),
        ("disputed", [payment(100_00, dispute="needs_response")], True),
        ("disputed", [payment(100_00, dispute="won")], False),
        ("charged_back", [payment(100_00, dispute="lost")], True),
        ("paid", [payment(100_00, dispute="lost")], False),
        ("paid", [payment(100_00, status="requires_action")], False),
        ("draft", [payment(100_00, status="requires_payment_method")], True),
        ("an unknown status", [payment(100_00)], False),
    ],
)
def test_each_status_has_its_own_states_at_stripe(status, payments, agrees):
    found = kinds(compare(local(status=status, payments=payments)))
    assert ("status_mismatch" not in found) is agrees


def test_a_stripe_invoice_is_compared_with_the_total():
    invoice = StripeInvoice("in_1", "open", "usd", 120_00, 0, None)
    assert kinds(compare(local("sent", invoice=invoice))) == ["amount_mismatch"]
    assert compare(local("sent", "120.00", invoice=invoice)) == []


def test_a_stripe_invoice_paid_out_of_band_agrees():
    assert compare(local(invoice=StripeInvoice("in_1", "paid", "usd", 100_00, 100_00, AT))) == []


@pytest.mark.parametrize(
    ("paid_by", "payment", "amount"),
    [
        ({"type": "payment_intent", "payment_intent": "pi_1"}, "pi_1", 100_00),
        ({"type": "charge", "charge": "ch_1"}, None, 100_00),
        ({"type": "payment_record", "payment_record": "pr_1"}, None, 0),
    ],
)
def test_a_payment_record_is_no_money_that_came_through_stripe(paid_by, payment, amount):
    """It is what `amount_paid_off_stripe` is computed from, and would be counted twice."""
    found = {"id": "inpay_1", "invoice": "in_1", "amount_paid": 100_00, "status": "paid", "payment": paid_by}
    assert link_row(found) == ("inpay_1", "in_1", payment, amount, "paid")


def test_an_open_stripe_invoice_of_a_paid_one_can_still_be_paid_again():
    invoice = StripeInvoice("in_1", "open", "usd", 100_00, 0, None)
    assert kinds(compare(local(invoice=invoice, payments=[payment(100_00)]))) == ["status_mismatch"]


@given(
    st.integers(-400, 400),
    st.sampled_from(["UTC", "Asia/Singapore", "America/New_York", "Pacific/Kiritimati"]),
)
def test_the_paid_date_is_the_charges_day_there_or_in_utc(days, zone):
    invoice = local(payments=[payment(100_00)], timezone=zone)
    invoice = replace(invoice, paid_date=date(2026, 11, 1) + timedelta(days=days))
    found = kinds(compare(invoice))
    assert ("paid_date_mismatch" in found) == (days not in ((0, 1) if zone == "Pacific/Kiritimati" else (0,)))


def test_a_debit_is_paid_on_the_day_it_settles():
    settles = payment(100_00, settles_later=True)
    assert compare(replace(local(payments=[settles]), paid_date=date(2026, 11, 6))) == []


CARD_DAY = date(2026, 11, 1)


def later(amount, days, **changes):
    """A payment that was charged so many days after the card's day."""
    return payment(amount, number=2, charged_at=AT + days * 86_400, **changes)


@pytest.mark.parametrize(("days", "agrees"), [(0, True), (19, True), (-1, False)])
def test_what_is_left_after_a_part_payment_may_be_paid_by_cheque_on_any_later_day(days, agrees):
    invoice = local(payments=[payment(30_00)], paid_by_other_means=Decimal("70.00"))
    found = kinds(compare(replace(invoice, paid_date=CARD_DAY + timedelta(days=days))))
    assert found == ([] if agrees else ["paid_date_mismatch"])


@pytest.mark.parametrize("days", [-3, 0, 19])
@pytest.mark.parametrize("recorded", ["100.00", "0.00"])
def test_a_stripe_invoice_marked_paid_out_of_band_says_nothing_of_the_cheques_day(days, recorded):
    marked = StripeInvoice("in_1", "paid", "usd", 100_00, 100_00, AT)
    invoice = local(invoice=marked, paid_by_other_means=Decimal(recorded))
    assert compare(replace(invoice, paid_date=CARD_DAY + timedelta(days=days))) == []


@pytest.mark.parametrize(("days", "agrees"), [(0, True), (19, True), (-1, False)])
def test_the_rest_of_a_stripe_invoice_may_be_marked_paid_out_of_band_on_another_day(days, agrees):
    marked = StripeInvoice("in_1", "paid", "usd", 100_00, 70_00, AT + 5 * 86_400)
    invoice = local(invoice=marked, payments=[payment(30_00)])
    found = kinds(compare(replace(invoice, paid_date=CARD_DAY + timedelta(days=days))))
    assert found == ([] if agrees else ["paid_date_mismatch"])


def test_the_paid_date_is_the_day_on_which_the_total_was_reached():
    parts = [payment(30_00), later(70_00, 4)]
    assert kinds(compare(local(payments=parts))) == ["paid_date_mismatch"]
    assert compare(local(payments=parts, paid_date=CARD_DAY + timedelta(days=4))) == []


def test_a_second_payment_does_not_move_the_paid_date():
    assert kinds(compare(local(payments=[payment(100_00), later(100_00, 4)]))) == ["duplicate_payment"]
    given_back = later(100_00, 4, refunded=100_00)
    assert compare(local(payments=[payment(100_00), given_back])) == []
    kept = [payment(100_00, refunded=100_00), later(100_00, 4)]
    for days in (0, 4):
        assert compare(local(payments=kept, paid_date=CARD_DAY + timedelta(days=days))) == []


def test_a_card_payment_of_what_a_cheque_had_paid_is_overpaid_and_the_cheques_day_stays_right():
    invoice = local(payments=[later(100_00, 9)], paid_by_other_means=Decimal("100.00"))
    assert kinds(compare(replace(invoice, paid_date=CARD_DAY))) == ["overpaid"]


def test_a_paid_invoice_without_a_paid_date_is_found_however_it_was_paid():
    mixed = local(payments=[payment(30_00)], paid_by_other_means=Decimal("70.00"))
    assert kinds(compare(replace(mixed, paid_date=None))) == ["paid_date_mismatch"]


def test_every_kind_has_a_severity_and_an_action_in_words():
    assert len(KINDS) == 9
    assert all(kind.proposed_action.count(" ") > 3 for kind in KINDS.values())
