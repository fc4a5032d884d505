"""Customers, payment methods, payment intents, refunds and disputes of the local Stripe, through stripe-python."""

from __future__ import annotations

from typing import Any

import pytest
import stripe as stripe_python

from sandbox.stripe_api.errors import ApiError


@pytest.fixture
def customer(api: Any) -> Any:
    return api.customers.create({"email": "client@example.test", "metadata": {"firm_id": "1"}})


def attached(api: Any, customer: Any, token: str) -> str:
    return str(api.payment_methods.attach(token, {"customer": customer.id}).id)


def charge(
    api: Any, customer: Any, method: str, amount: int = 20_000, currency: str = "usd", **params: Any
) -> Any:
    request = {"amount": amount, "currency": currency, "customer": customer.id, "payment_method": method}
    options = {"idempotency_key": params.pop("key")} if "key" in params else {}
    return api.payment_intents.create({**request, "confirm": True, "off_session": True, **params}, options)


def test_a_charge_that_succeeds_is_in_the_intent_the_charge_and_the_ledger(stripe, api, customer) -> None:
    method = attached(api, customer, "pm_card_visa")
    intent = charge(api, customer, method, metadata={"invoice_id": "7", "attempt": "1"}, key="inv-7-1")
    assert (intent.status, intent.amount_received, intent.currency) == ("succeeded", 20_000, "usd")
    made = api.charges.retrieve(intent.latest_charge)
    assert (made.paid, made.status, made.amount_captured, made.payment_intent) == (
        True,
        "succeeded",
        20_000,
        intent.id,
    )
    assert made.payment_method_details.card.last4 == "4242"
    (entry,) = stripe.ledger
    assert (entry.kind, entry.object, entry.payment_intent, entry.amount) == (
        "charge",
        made.id,
        intent.id,
        20_000,
    )
    assert (entry.customer, entry.metadata, entry.idempotency_key) == (
        customer.id,
        {"invoice_id": "7", "attempt": "1"},
        "inv-7-1",
    )
    assert stripe.ledger.charges(invoice_id="7") == [entry]
    assert stripe.ledger.charges(invoice_id="8") == []
    assert stripe.ledger.totals() == {"usd": 20_000}


DECLINES = [
    ("pm_card_chargeDeclined", "card_declined", "generic_decline", "try_again_later"),
    ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline", "try_again_later"),
    ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds", "try_again_later"),
    ("pm_card_chargeDeclinedLostCard", "card_declined", "lost_card", "do_not_try_again"),
    ("pm_card_chargeDeclinedStolenCard", "card_declined", "stolen_card", "do_not_try_again"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card", "do_not_try_again"),
    ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error", "try_again_later"),
    ("pm_card_authenticationRequired", "authentication_required", "authentication_required", None),
]


@pytest.mark.parametrize(("token", "code", "decline_code", "advice"), DECLINES)
def test_a_decline_says_why_and_leaves_the_intent_to_be_paid(
    stripe, api, customer, token, code, decline_code, advice
):
    method = attached(api, customer, token)
    with pytest.raises(stripe_python.CardError) as caught:
        charge(api, customer, method)
    error = caught.value.error
    assert (caught.value.http_status, error.type, error.code) == (402, "card_error", code)
    assert (error.decline_code, error.advice_code) == (decline_code, advice)
    assert error.payment_method.id == method
    intent = api.payment_intents.retrieve(error.payment_intent.id)
    assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
    assert intent.last_payment_error.decline_code == decline_code
    failed = api.charges.retrieve(intent.latest_charge)
    assert (failed.status, failed.paid, failed.failure_code) == ("failed", False, code)
    assert len(stripe.ledger) == 0


def test_a_declined_intent_can_be_confirmed_again_with_another_card(stripe, api, customer) -> None:
    with pytest.raises(stripe_python.CardError) as caught:
        charge(api, customer, attached(api, customer, "pm_card_chargeDeclined"))
    good = attached(api, customer, "pm_card_visa")
    intent_id = caught.value.error.payment_intent.id
    intent = api.payment_intents.confirm(intent_id, {"payment_method": good, "off_session": True})
    assert (intent.status, intent.last_payment_error) == ("succeeded", None)
    statuses = [made.status for made in api.charges.list({"payment_intent": intent_id}).data]
    assert statuses == ["succeeded", "failed"]
    assert len(stripe.ledger) == 1


def test_outcomes_can_be_scripted_in_order(stripe, api, customer) -> None:
    method = attached(api, customer, "pm_card_visa")
    stripe.script(method, "insufficient_funds", "do_not_honor")
    for expected in ("insufficient_funds", "do_not_honor"):
        with pytest.raises(stripe_python.CardError) as caught:
            charge(api, customer, method)
        assert caught.value.error.decline_code == expected
    assert charge(api, customer, method).status == "succeeded"
    with pytest.raises(ValueError, match="no such outcome"):
        stripe.script(method, "bad_luck")


def test_on_session_authentication_is_asked_for_and_completed(stripe, api, customer) -> None:
    method = attached(api, customer, "pm_card_authenticationRequired")
    intent = charge(api, customer, method, off_session=False)
    assert intent.status == "requires_action"
    assert intent.next_action.redirect_to_url.url.startswith("https://")
    assert len(stripe.ledger) == 0
    stripe.authenticate(intent.id)
    assert api.payment_intents.retrieve(intent.id).status == "succeeded"
    assert len(stripe.ledger) == 1


def test_failed_authentication_leaves_the_intent_unpaid(stripe, api, customer) -> None:
    method = attached(api, customer, "pm_card_visa")
    stripe.script(method, "requires_action")
    intent = charge(api, customer, method)
    assert intent.status == "requires_action"
    stripe.authenticate(intent.id, succeeds=False)
    intent = api.payment_intents.retrieve(intent.id)
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error.code == "payment_intent_authentication_failure"
    assert len(stripe.ledger) == 0


def test_error_on_requires_action_makes_it_a_decline(api, customer, stripe) -> None:
    method = attached(api, customer, "pm_card_visa")
    stripe.script(method, "requires_action")
    with pytest.raises(stripe_python.CardError) as caught:
        charge(api, customer, method, error_on_requires_action=True)
    assert caught.value.code == "authentication_required"


def test_a_bank_debit_is_processing_until_the_clock_settles_it(stripe, api, customer) -> None:
    method = attached(api, customer, "pm_usBankAccount")
    intent = charge(api, customer, method, key="debit-1")
    assert (intent.status, intent.amount_received) == ("processing", 0)
    assert api.charges.retrieve(intent.latest_charge).status == "pending"
    with pytest.raises(stripe_python.InvalidRequestError, match="status of processing"):
        api.payment_intents.cancel(intent.id)
    stripe.clock.advance(days=3)
    assert api.payment_intents.retrieve(intent.id).status == "processing"
    assert len(stripe.ledger) == 0
    stripe.clock.advance(days=1)
    assert api.payment_intents.retrieve(intent.id).status == "succeeded"
    assert [entry.idempotency_key for entry in stripe.ledger] == ["debit-1"]


def test_a_bank_debit_can_fail_days_later(stripe, api, customer) -> None:
    intent = charge(api, customer, attached(api, customer, "pm_usBankAccount_insufficientFunds"))
    stripe.clock.advance(days=5)
    intent = api.payment_intents.retrieve(intent.id)
    assert (intent.status, intent.last_payment_error.code) == (
        "requires_payment_method",
        "insufficient_funds",
    )
    assert len(stripe.ledger) == 0


def test_a_bank_debit_can_be_settled_by_hand(stripe, api, customer) -> None:
    euro = charge(api, customer, attached(api, customer, "pm_sepaDebit_processing"), currency="eur")
    stripe.clock.advance(days=100)
    assert api.payment_intents.retrieve(euro.id).status == "processing"
    assert stripe.settle(euro.id)["status"] == "succeeded"
    dollar = charge(api, customer, attached(api, customer, "pm_usBankAccount"))
    assert stripe.settle(dollar.id, "account_closed")["status"] == "requires_payment_method"
    assert stripe.ledger.totals() == {"eur": 20_000}


def test_a_bank_debit_has_its_currency(api, customer) -> None:
    with pytest.raises(stripe_python.InvalidRequestError, match="invalid for us_bank_account"):
        charge(api, customer, attached(api, customer, "pm_usBankAccount"), currency="eur")


def test_an_intent_is_created_confirmed_and_canceled_in_steps(stripe, api, customer) -> None:
    intent = api.payment_intents.create({"amount": 500, "currency": "EUR", "customer": customer.id})
    assert (intent.status, intent.currency) == ("requires_payment_method", "eur")
    with pytest.raises(stripe_python.InvalidRequestError, match="missing a payment method"):
        api.payment_intents.confirm(intent.id)
    method = attached(api, customer, "pm_card_visa")
    intent = api.payment_intents.update(
        intent.id, {"payment_method": method, "amount": 700, "metadata": {"a": "b"}}
    )
    assert (intent.status, intent.amount, intent.metadata["a"]) == ("requires_confirmation", 700, "b")
    canceled = api.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    with pytest.raises(stripe_python.InvalidRequestError) as caught:
        api.payment_intents.confirm(intent.id)
    assert caught.value.code == "payment_intent_unexpected_state"
    assert caught.value.error.payment_intent.id == intent.id
    assert len(stripe.ledger) == 0


def test_a_succeeded_intent_is_neither_confirmed_nor_canceled_again(stripe, api, customer) -> None:
    intent = charge(api, customer, attached(api, customer, "pm_card_visa"))
    for verb in (api.payment_intents.confirm, api.payment_intents.cancel):
        with pytest.raises(stripe_python.InvalidRequestError, match="status of succeeded"):
            verb(intent.id)
    assert len(stripe.ledger) == 1


def test_another_customers_payment_method_is_refused(stripe, api, customer) -> None:
    other = api.customers.create({"name": "Other"})
    method = attached(api, other, "pm_card_visa")
    with pytest.raises(stripe_python.InvalidRequestError, match="customer does not have a payment method"):
        charge(api, customer, method)
    with pytest.raises(stripe_python.InvalidRequestError, match="Please include the Customer"):
        api.payment_intents.create({"amount": 500, "currency": "usd", "payment_method": method})
    with pytest.raises(stripe_python.InvalidRequestError, match="already been attached"):
        api.payment_methods.attach(method, {"customer": customer.id})
    assert len(stripe.ledger) == 0


def test_a_detached_payment_method_is_spent(api, customer) -> None:
    method = attached(api, customer, "pm_card_visa")
    assert api.payment_methods.detach(method).customer is None
    with pytest.raises(stripe_python.InvalidRequestError, match="may not be used again"):
        charge(api, customer, method)
    with pytest.raises(stripe_python.InvalidRequestError, match="may not be used again"):
        api.payment_methods.attach(method, {"customer": customer.id})


def test_payment_methods_are_listed_by_customer_and_type(api, customer) -> None:
    card, bank = attached(api, customer, "pm_card_visa"), attached(api, customer, "pm_usBankAccount")
    assert [m.id for m in api.customers.payment_methods.list(customer.id).data] == [bank, card]
    listed = api.payment_methods.list({"customer": customer.id, "type": "card"}).data
    assert [(m.id, m.card.brand) for m in listed] == [(card, "visa")]
    assert api.customers.payment_methods.retrieve(customer.id, bank).us_bank_account.last4 == "6789"


def test_a_declining_card_can_be_refused_when_it_is_attached_as_stripe_does(stripe, api, customer) -> None:
    stripe.settings.attach_declines = True
    with pytest.raises(stripe_python.CardError) as caught:
        attached(api, customer, "pm_card_chargeDeclined")
    assert caught.value.error.decline_code == "generic_decline"
    method = attached(api, customer, "pm_card_chargeCustomerFail")
    with pytest.raises(stripe_python.CardError, match="declined"):
        charge(api, customer, method)


def test_a_payment_method_is_made_from_a_token_and_never_from_a_number(api) -> None:
    made = api.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}, "metadata": {"k": "v"}})
    assert (made.card.last4, made.customer, made.metadata["k"]) == ("4242", None, "v")
    number = {"number": "4242424242424242", "exp_month": 1, "exp_year": 2040}
    with pytest.raises(stripe_python.CardError, match="card numbers directly"):
        api.payment_methods.create({"type": "card", "card": number})


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (49, "usd", "amount_too_small"),
        (0, "usd", "parameter_invalid_integer"),
        (49, "jpy", "amount_too_small"),
        (1_005, "kwd", "parameter_invalid_integer"),
        (1_050, "ugx", "parameter_invalid_integer"),
        (100_000_000, "usd", "amount_too_large"),
        (500, "xxx", None),
    ],
)
def test_amounts_are_checked_by_currency(api, customer, amount, currency, code) -> None:
    with pytest.raises(stripe_python.InvalidRequestError) as caught:
        api.payment_intents.create({"amount": amount, "currency": currency, "customer": customer.id})
    assert caught.value.code == code
    assert caught.value.param == ("currency" if code is None else "amount")


@pytest.mark.parametrize(("amount", "currency"), [(50, "usd"), (500, "jpy"), (12_340, "kwd"), (1_000, "ugx")])
def test_amounts_in_minor_units_of_each_exponent_are_accepted(api, customer, amount, currency) -> None:
    method = attached(api, customer, "pm_card_visa")
    assert charge(api, customer, method, amount, currency).amount_received == amount


def test_customers_are_updated_found_by_email_and_deleted(api, customer) -> None:
    method = attached(api, customer, "pm_card_visa")
    changed = api.customers.update(
        customer.id,
        {
            "name": "Acme",
            "metadata": {"firm_id": "", "x": "1"},
            "invoice_settings": {"default_payment_method": method},
        },
    )
    assert (changed.name, dict(changed.metadata.to_dict())) == ("Acme", {"x": "1"})
    assert changed.invoice_settings.default_payment_method == method
    assert [c.id for c in api.customers.list({"email": "client@example.test"}).data] == [customer.id]
    assert api.customers.delete(customer.id).deleted is True
    assert api.customers.retrieve(customer.id).deleted is True
    assert api.customers.list().data == []
    assert api.payment_methods.retrieve(method).customer is None
    with pytest.raises(stripe_python.InvalidRequestError, match="No such customer"):
        api.payment_intents.create({"amount": 500, "currency": "usd", "customer": customer.id})


def test_refunds_in_parts_up_to_the_charge(stripe, api, customer) -> None:
    intent = charge(api, customer, attached(api, customer, "pm_card_visa"))
    part = api.refunds.create(
        {"payment_intent": intent.id, "amount": 5_000, "reason": "requested_by_customer"}
    )
    assert (part.status, part.charge, part.payment_intent) == ("succeeded", intent.latest_charge, intent.id)
    made = api.charges.retrieve(intent.latest_charge, {"expand": ["refunds"]})
    assert (made.amount_refunded, made.refunded) == (5_000, False)
    assert [r.id for r in made.refunds.data] == [part.id]
    with pytest.raises(stripe_python.InvalidRequestError, match="greater than unrefunded"):
        api.refunds.create({"charge": made.id, "amount": 15_001})
    rest = api.refunds.create({"charge": made.id})
    assert rest.amount == 15_000
    assert api.charges.retrieve(made.id).refunded is True
    with pytest.raises(stripe_python.InvalidRequestError) as caught:
        api.refunds.create({"charge": made.id})
    assert caught.value.code == "charge_already_refunded"
    assert [r.id for r in api.refunds.list({"payment_intent": intent.id}).data] == [rest.id, part.id]
    assert [entry.amount for entry in stripe.ledger.refunds()] == [5_000, 15_000]
    assert stripe.ledger.totals() == {"usd": 0}
    assert api.payment_intents.retrieve(intent.id).status == "succeeded"


def test_a_refund_that_fails_later_gives_the_amount_back(stripe, api, customer) -> None:
    intent = charge(api, customer, attached(api, customer, "pm_card_visa"))
    part = api.refunds.create({"payment_intent": intent.id, "amount": 5_000})
    rest = api.refunds.create({"payment_intent": intent.id})
    stripe.fail_refund(rest.id, "expired_or_canceled_card")
    failed = api.refunds.retrieve(rest.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    made = api.charges.retrieve(intent.latest_charge)
    assert (made.amount_refunded, made.refunded) == (part.amount, False)
    assert stripe.ledger.totals() == {"usd": 15_000}
    told = api.events.list({"types": ["refund.failed", "charge.refund.updated", "refund.updated"]}).data
    assert [(event.data.object["id"], event.data.object["payment_intent"]) for event in told] == [
        (rest.id, intent.id)
    ] * 3
    with pytest.raises(ApiError, match="only one that succeeded"):
        stripe.fail_refund(rest.id)


def test_a_disputed_charge_says_so_and_cannot_be_refunded(stripe, api, customer) -> None:
    intent = charge(api, customer, attached(api, customer, "pm_card_visa"))
    opened = stripe.dispute(intent.latest_charge, "product_not_received")
    assert api.charges.retrieve(intent.latest_charge).disputed is True
    (found,) = api.disputes.list({"payment_intent": intent.id}).data
    assert (found.id, found.status, found.reason, found.amount) == (
        opened["id"],
        "needs_response",
        "product_not_received",
        20_000,
    )
    with pytest.raises(stripe_python.InvalidRequestError) as caught:
        api.refunds.create({"payment_intent": intent.id})
    assert caught.value.code == "charge_disputed"
    stripe.close_dispute(found.id, "won")
    assert api.disputes.retrieve(found.id).status == "won"
    other = charge(api, customer, attached(api, customer, "pm_card_createDispute"))
    (second,) = api.disputes.list({"charge": other.latest_charge}).data
    assert api.disputes.close(second.id).status == "lost"
