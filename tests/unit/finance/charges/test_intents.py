"""What is asked of Stripe for an attempt, and for how long it may be asked again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.finance.charges.answers import AttemptState
from cp_ops.finance.charges.intents import ChargeIntent, charge_request, idempotency_key, may_ask_again
from tests.unit.finance.charges.charge_rows import NOW

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
