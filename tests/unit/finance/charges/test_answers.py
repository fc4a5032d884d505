"""What Stripe's answers mean: every decline code has one class, and no answer is taken for a payment that is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.finance.charges.answers import (
    AUTHENTICATION,
    HARD,
    AttemptState,
    DeclineClass,
    decline_class,
    read_answer,
    read_payment_intent,
)
from sandbox.stripe_api.cards import OUTCOMES


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("insufficient_funds", "soft"),
        ("generic_decline", "soft"),
        ("processing_error", "soft"),
        ("try_again_later", "soft"),
        ("a_code_of_next_year", "soft"),
        ("lost_card", "hard"),
        ("stolen_card", "hard"),
        ("expired_card", "hard"),
        ("incorrect_number", "hard"),
        ("revocation_of_all_authorizations", "hard"),
        ("authentication_required", "authentication"),
    ],
)
def test_a_decline_code_has_a_class(code, expected):
    assert decline_class(code) == expected


def test_stripes_advice_not_to_try_again_makes_a_decline_hard():
    assert decline_class("generic_decline", "do_not_try_again") is DeclineClass.HARD


def test_the_classes_do_not_overlap():
    assert not HARD & AUTHENTICATION


@pytest.mark.parametrize(
    "outcome", sorted(name for name, outcome in OUTCOMES.items() if outcome.step == "declined")
)
def test_every_decline_that_stripe_documents_is_settled_as_failed_or_waits_for_the_client(outcome):
    known = OUTCOMES[outcome]
    body = {
        "type": "card_error", "code": known.code, "decline_code": known.decline_code, "advice_code": known.advice_code,
        "payment_intent": {"id": "pi_1", "status": "requires_payment_method"},
    }  # fmt: skip
    settled = read_answer(402, body)
    assert settled.payment_intent == "pi_1"
    assert settled.decline is not DeclineClass.NONE
    assert settled.state is (
        AttemptState.REQUIRES_ACTION
        if settled.decline is DeclineClass.AUTHENTICATION
        else AttemptState.FAILED
    )


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("succeeded", AttemptState.SUCCEEDED),
        ("processing", AttemptState.PROCESSING),
        ("requires_capture", AttemptState.PROCESSING),
        ("requires_action", AttemptState.REQUIRES_ACTION),
        ("requires_confirmation", AttemptState.REQUIRES_ACTION),
        ("canceled", AttemptState.FAILED),
        ("requires_payment_method", AttemptState.FAILED),
    ],
)
def test_only_succeeded_is_a_payment(status, state):
    assert read_payment_intent({"id": "pi_1", "status": status}).state is state


def test_a_key_that_was_used_for_another_request_is_unknown_not_failed():
    assert read_answer(400, {"type": "idempotency_error"}).state is AttemptState.UNKNOWN


def test_a_payment_method_that_is_gone_is_hard():
    body = {"type": "invalid_request_error", "code": "resource_missing", "param": "payment_method"}
    assert read_answer(400, body).decline is DeclineClass.HARD


@given(
    st.integers(200, 499),
    st.dictionaries(
        st.sampled_from(["type", "code", "decline_code", "param", "advice_code"]), st.text(max_size=12)
    ),
)
def test_no_refusal_is_ever_read_as_a_payment(status, error):
    if status < 400:
        return
    assert read_answer(status, error).state in (
        AttemptState.FAILED,
        AttemptState.REQUIRES_ACTION,
        AttemptState.UNKNOWN,
    )
