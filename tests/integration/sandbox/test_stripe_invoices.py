"""Invoices, their payments, events and search of the local Stripe, through stripe-python."""

from __future__ import annotations

from typing import Any

import pytest
import stripe as stripe_python

DAY = 86_400


@pytest.fixture
def customer(api: Any) -> Any:
    return api.customers.create({"email": "client@example.test"})


@pytest.fixture
def card(api: Any, customer: Any) -> str:
    return str(api.payment_methods.attach("pm_card_visa", {"customer": customer.id}).id)


def draft(api: Any, customer: Any, *amounts: int, **params: Any) -> Any:
    invoice = api.invoices.create({"customer": customer.id, **params})
    for amount in amounts:
        api.invoice_items.create({"customer": customer.id, "invoice": invoice.id, "amount": amount})
    return api.invoices.retrieve(invoice.id)


def opened(api: Any, customer: Any, *amounts: int, **params: Any) -> Any:
    return api.invoices.finalize_invoice(draft(api, customer, *amounts, **params).id)


def payment(api: Any, customer: Any, card: str, amount: int) -> Any:
    request = {"amount": amount, "currency": "usd", "customer": customer.id, "payment_method": card}
    return api.payment_intents.create({**request, "confirm": True, "off_session": True})


def test_a_draft_collects_lines_and_opens(api, customer) -> None:
    invoice = draft(api, customer, 12_000, 3_000, metadata={"invoice_id": "7"})
    assert (invoice.status, invoice.total, invoice.amount_due, invoice.number) == (
        "draft",
        15_000,
        15_000,
        None,
    )
    assert [line.amount for line in invoice.lines.data] == [12_000, 3_000]
    assert invoice.lines.data[0].parent.type == "invoice_item_details"
    assert not hasattr(invoice, "payments")
    invoice = api.invoices.finalize_invoice(invoice.id)
    assert (invoice.status, invoice.amount_remaining) == ("open", 15_000)
    assert invoice.number.endswith("-0001")
    assert invoice.status_transitions.finalized_at
    with pytest.raises(stripe_python.InvalidRequestError) as caught:
        api.invoices.finalize_invoice(invoice.id)
    assert caught.value.code == "invoice_not_editable"


def test_pending_items_and_added_lines(api, customer) -> None:
    api.invoice_items.create({"customer": customer.id, "amount": 700, "currency": "usd"})
    invoice = api.invoices.create({"customer": customer.id, "pending_invoice_items_behavior": "include"})
    invoice = api.invoices.add_lines(invoice.id, {"lines": [{"amount": 300, "description": "Extra"}]})
    assert invoice.total == 1_000
    item = api.invoice_items.list({"invoice": invoice.id}).data[0]
    assert api.invoice_items.delete(item.id).deleted is True
    lines = api.invoices.line_items.list(invoice.id).data
    assert [(line.amount, line.description) for line in lines] == [(300, "Extra")]


def test_a_sent_invoice_needs_a_due_date(api, customer) -> None:
    with pytest.raises(stripe_python.InvalidRequestError, match="days_until_due"):
        api.invoices.create({"customer": customer.id, "collection_method": "send_invoice"})
    invoice = draft(api, customer, 500, collection_method="send_invoice", days_until_due=30)
    assert invoice.due_date == invoice.created + 30 * DAY
    assert api.invoices.send_invoice(invoice.id).status == "open"
    with pytest.raises(stripe_python.InvalidRequestError, match="due date"):
        api.invoices.create({"customer": customer.id, "due_date": invoice.due_date})


def test_paying_goes_through_the_default_payment(stripe, api, customer, card) -> None:
    invoice = opened(api, customer, 9_000)
    (default,) = api.invoice_payments.list({"invoice": invoice.id}).data
    assert (default.is_default, default.status, default.amount_requested, default.amount_paid) == (
        True,
        "open",
        9_000,
        None,
    )
    with pytest.raises(stripe_python.InvalidRequestError, match="default_payment_method"):
        api.invoices.pay(invoice.id)
    with pytest.raises(stripe_python.InvalidRequestError, match="default payment of the invoice"):
        api.payment_intents.cancel(default.payment.payment_intent)
    invoice = api.invoices.pay(invoice.id, {"payment_method": card})
    assert (invoice.status, invoice.amount_paid, invoice.amount_remaining) == ("paid", 9_000, 0)
    (default,) = api.invoice_payments.list({"invoice": invoice.id, "status": "paid"}).data
    assert (default.amount_paid, default.status_transitions.paid_at) == (
        9_000,
        invoice.status_transitions.paid_at,
    )
    assert [e.payment_intent for e in stripe.ledger] == [default.payment.payment_intent]
    with pytest.raises(stripe_python.InvalidRequestError, match="already paid"):
        api.invoices.pay(invoice.id, {"payment_method": card})


def test_a_declined_payment_leaves_the_invoice_open_and_counted(stripe, api, customer, card) -> None:
    invoice = opened(api, customer, 9_000, default_payment_method=card)
    stripe.script(card, "insufficient_funds", "requires_action")
    with pytest.raises(stripe_python.CardError) as caught:
        api.invoices.pay(invoice.id)
    assert caught.value.error.decline_code == "insufficient_funds"
    with pytest.raises(stripe_python.CardError) as caught:
        api.invoices.pay(invoice.id)
    assert caught.value.code == "invoice_payment_intent_requires_action"
    invoice = api.invoices.retrieve(invoice.id)
    assert (invoice.status, invoice.attempt_count, invoice.attempted) == ("open", 1, True)
    stripe.authenticate(caught.value.error.payment_intent.id)
    assert api.invoices.retrieve(invoice.id).status == "paid"
    assert len(stripe.ledger) == 1


def test_a_bank_debit_pays_the_invoice_when_it_settles(stripe, api, customer) -> None:
    bank = api.payment_methods.attach("pm_usBankAccount", {"customer": customer.id}).id
    invoice = opened(api, customer, 9_000)
    assert api.invoices.pay(invoice.id, {"payment_method": bank}).status == "open"
    with pytest.raises(stripe_python.InvalidRequestError, match="already processing"):
        api.invoices.pay(invoice.id, {"payment_method": bank})
    stripe.clock.advance(days=4)
    assert api.invoices.retrieve(invoice.id).status == "paid"


def test_several_payments_pay_one_invoice_in_parts(stripe, api, customer, card) -> None:
    invoice = opened(api, customer, 10_000)
    first = payment(api, customer, card, 4_000)
    invoice = api.invoices.attach_payment(invoice.id, {"payment_intent": first.id})
    assert (invoice.status, invoice.amount_paid, invoice.amount_remaining) == ("open", 4_000, 6_000)
    (default,) = api.invoice_payments.list({"invoice": invoice.id, "status": "open"}).data
    assert default.amount_requested == 6_000
    assert api.payment_intents.retrieve(default.payment.payment_intent).amount == 6_000
    second = api.payment_intents.create({"amount": 6_000, "currency": "usd", "customer": customer.id})
    api.invoices.attach_payment(invoice.id, {"payment_intent": second.id})
    assert api.invoices.retrieve(invoice.id).status == "open"
    api.payment_intents.confirm(second.id, {"payment_method": card, "off_session": True})
    invoice = api.invoices.retrieve(invoice.id, {"expand": ["payments"]})
    assert (invoice.status, invoice.amount_paid) == ("paid", 10_000)
    assert [(p.status, p.amount_paid) for p in invoice.payments.data] == [
        ("paid", 6_000),
        ("paid", 4_000),
        ("canceled", None),
    ]
    query = {"payment": {"type": "payment_intent", "payment_intent": first.id}}
    (found,) = api.invoice_payments.list(query).data
    assert found.invoice == invoice.id
    assert stripe.ledger.totals() == {"usd": 10_000}


def test_a_payment_that_comes_too_late_is_overpaid_and_credited(stripe, api, customer, card) -> None:
    invoice = opened(api, customer, 5_000)
    late = api.payment_intents.create({"amount": 5_000, "currency": "usd", "customer": customer.id})
    bank = api.payment_methods.attach("pm_usBankAccount", {"customer": customer.id}).id
    api.invoices.attach_payment(invoice.id, {"payment_intent": late.id})
    api.payment_intents.confirm(late.id, {"payment_method": bank, "off_session": True})
    assert api.invoices.pay(invoice.id, {"payment_method": card}).status == "paid"
    stripe.clock.advance(days=4)
    invoice = api.invoices.retrieve(invoice.id)
    assert (invoice.status, invoice.amount_overpaid, invoice.amount_remaining) == ("paid", 5_000, 0)
    assert api.customers.retrieve(customer.id).balance == -5_000
    assert opened(api, customer, 3_000).status == "paid"
    assert api.customers.retrieve(customer.id).balance == -2_000


def test_what_was_paid_off_stripe_is_shown_when_it_is_expanded_only(api, customer) -> None:
    member = "amount_paid_off_stripe"
    paid = api.invoices.pay(opened(api, customer, 5_000).id, {"paid_out_of_band": True})
    assert member not in paid
    assert api.invoices.retrieve(paid.id, {"expand": [member]})[member] == 5_000
    (listed,) = api.invoices.list({"expand": [f"data.{member}"]}).data
    assert listed[member] == 5_000
    (told,) = api.events.list({"type": "invoice.paid"}).data
    assert member not in told.data.object


def test_paid_out_of_band_moves_no_money(stripe, api, customer) -> None:
    invoice = api.invoices.pay(opened(api, customer, 5_000).id, {"paid_out_of_band": True})
    assert (invoice.status, invoice.amount_paid, invoice.amount_remaining) == ("paid", 5_000, 0)
    (default,) = api.invoice_payments.list({"invoice": invoice.id}).data
    assert default.status == "canceled"
    assert api.payment_intents.retrieve(default.payment.payment_intent).status == "canceled"
    assert len(stripe.ledger) == 0


def test_void_and_uncollectible(api, customer, card) -> None:
    invoice = opened(api, customer, 5_000)
    invoice = api.invoices.mark_uncollectible(invoice.id)
    assert (invoice.status, invoice.amount_remaining) == ("uncollectible", 5_000)
    assert api.invoices.pay(invoice.id, {"payment_method": card}).status == "paid"
    voided = api.invoices.void_invoice(opened(api, customer, 5_000).id)
    assert (voided.status, voided.status_transitions.voided_at is None) == ("void", False)
    for verb in (api.invoices.pay, api.invoices.void_invoice, api.invoices.mark_uncollectible):
        with pytest.raises(stripe_python.InvalidRequestError):
            verb(voided.id)


def test_only_drafts_are_deleted(api, customer) -> None:
    invoice = draft(api, customer, 100)
    assert api.invoices.delete(invoice.id).deleted is True
    with pytest.raises(stripe_python.InvalidRequestError) as caught:
        api.invoices.retrieve(invoice.id)
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")
    with pytest.raises(stripe_python.InvalidRequestError):
        api.invoices.delete(opened(api, customer, 100).id)


def test_an_invoice_of_nothing_is_paid_at_once(stripe, api, customer) -> None:
    invoice = opened(api, customer)
    assert (invoice.status, invoice.total) == ("paid", 0)
    assert len(stripe.ledger) == 0


def test_attaching_a_foreign_payment_is_refused(api, customer, card) -> None:
    invoice = opened(api, customer, 5_000)
    other = api.customers.create({})
    foreign = api.payment_intents.create({"amount": 500, "currency": "usd", "customer": other.id})
    euro = api.payment_intents.create({"amount": 500, "currency": "eur", "customer": customer.id})
    for intent in (foreign, euro):
        with pytest.raises(stripe_python.InvalidRequestError, match="currency and the customer"):
            api.invoices.attach_payment(invoice.id, {"payment_intent": intent.id})


def test_invoices_are_listed_by_status_customer_creation_and_due_date(stripe, api, customer) -> None:
    stripe.clock.freeze(1_800_000_000)
    other = api.customers.create({})
    first = opened(api, customer, 100)
    stripe.clock.advance(days=1)
    second = draft(api, other, 100, collection_method="send_invoice", days_until_due=3)

    def found(**query: Any) -> list[str]:
        return [invoice.id for invoice in api.invoices.list(query).data]

    assert found() == [second.id, first.id]
    assert found(status="open") == [first.id]
    assert found(customer=other.id) == [second.id]
    assert found(customer=other.id, status="open") == []
    assert found(created={"gte": 1_800_000_001}) == [second.id]
    assert found(created={"gt": 1_799_999_999, "lte": 1_800_000_000}) == [first.id]
    assert found(created=1_800_000_000) == [first.id]
    assert found(due_date={"lt": 1_800_000_000 + 5 * DAY}) == [second.id]
    assert found(collection_method="charge_automatically") == [first.id]
    with pytest.raises(stripe_python.InvalidRequestError, match="No such customer"):
        found(customer="cus_none")


def test_events_tell_what_changed_and_are_kept_for_thirty_days(stripe, api, customer, card) -> None:
    invoice = opened(api, customer, 5_000)
    api.invoices.pay(invoice.id, {"payment_method": card}, {"idempotency_key": "pay-1"})
    kinds = [event.type for event in api.events.list({"limit": 100}).data]
    assert kinds.index("invoice.paid") < kinds.index("invoice.finalized") < kinds.index("invoice.created")
    assert {"charge.succeeded", "payment_intent.succeeded", "invoice_payment.paid"} <= set(kinds)
    (paid,) = api.events.list({"type": "invoice.paid"}).data
    assert (paid.data.object.id, paid.data.object.status) == (invoice.id, "paid")
    assert (paid.request.idempotency_key, paid.api_version) == ("pay-1", "2026-10-28.endive")
    listed = api.events.list({"types": ["invoice.created", "invoice.paid"], "created": {"gte": 1}}).data
    assert [event.type for event in listed] == ["invoice.paid", "invoice.created"]
    with pytest.raises(stripe_python.InvalidRequestError, match="20 event types"):
        api.events.list({"types": ["invoice.paid"] * 21})
    with pytest.raises(stripe_python.InvalidRequestError, match="not both"):
        api.events.list({"types": ["invoice.paid"], "type": "invoice.paid"})
    stripe.clock.advance(days=31)
    assert api.events.list().data == []
    with pytest.raises(stripe_python.InvalidRequestError, match="No such event"):
        api.events.retrieve(paid.id)


def test_search_finds_by_metadata_but_only_after_a_delay(stripe, api, customer, card) -> None:
    params = {"amount": 700, "currency": "usd", "customer": customer.id, "metadata": {"invoice_id": "7"}}
    intent = api.payment_intents.create(params)
    other = api.payment_intents.create({**params, "metadata": {"invoice_id": "8"}})
    query = {"query": f"metadata['invoice_id']:'7' AND customer:'{customer.id}' AND amount>=700"}
    assert api.payment_intents.search(query).data == []
    stripe.clock.advance(seconds=60)
    assert [found.id for found in api.payment_intents.search(query).data] == [intent.id]
    both = {"query": "metadata['invoice_id']:'7' OR metadata['invoice_id']:'8'"}
    assert {found.id for found in api.payment_intents.search(both).data} == {intent.id, other.id}
    first = api.payment_intents.search({**both, "limit": 1})
    rest = api.payment_intents.search({**both, "limit": 1, "page": first.next_page})
    assert [first.has_more, first.data[0].id, rest.data[0].id] == [True, other.id, intent.id]
    assert api.payment_intents.search({"query": "-status:'canceled' AND metadata['x']:null"}).data != []
    for wrong in ("nonsense", "colour:'red'", "status:'a' AND amount>1 OR amount<1"):
        with pytest.raises(stripe_python.InvalidRequestError):
            api.payment_intents.search({"query": wrong})
