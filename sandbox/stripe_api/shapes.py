"""Empty objects of API 2026-10-28.endive: every member that Stripe sends, with its value when nothing is set.

``tests/integration/sandbox/test_stripe_shapes.py`` compares them with stripe-python's own types.
Members that start with an underscore are the sandbox's own and are never sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .catalog import API_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

Doc = dict[str, Any]
ADDRESS: Doc = dict.fromkeys(["city", "country", "line1", "line2", "postal_code", "state"])


def _nothing(*names: str) -> Doc:
    return dict.fromkeys(names)


def billing_details() -> Doc:
    """Who pays, when nobody said."""
    return {"address": dict(ADDRESS), "email": None, "name": None, "phone": None, "tax_id": None}


def customer() -> Doc:
    """https://docs.stripe.com/api/customers/object."""
    return {
        "object": "customer", "balance": 0, "delinquent": False, "livemode": False, "metadata": {},
        "preferred_locales": [], "tax_exempt": "none", "invoice_prefix": None, "next_invoice_sequence": 1,
        "invoice_settings": _nothing("custom_fields", "default_payment_method", "footer", "rendering_options"),
        **_nothing("address", "business_name", "currency", "customer_account", "default_source", "description",
                   "discount", "email", "individual_name", "name", "phone", "shipping", "test_clock"),
    }  # fmt: skip


def payment_method() -> Doc:
    """https://docs.stripe.com/api/payment_methods/object."""
    return {
        "object": "payment_method", "allow_redisplay": "unspecified", "billing_details": billing_details(),
        "customer": None, "customer_account": None, "livemode": False, "metadata": {}, "type": "card",
    }  # fmt: skip


def payment_intent() -> Doc:
    """https://docs.stripe.com/api/payment_intents/object."""
    return {
        "object": "payment_intent", "amount_capturable": 0, "amount_details": {"tip": {}}, "amount_received": 0,
        "capture_method": "automatic_async", "confirmation_method": "automatic", "livemode": False,
        "metadata": {}, "payment_method_options": {}, "payment_method_types": ["card"],
        "status": "requires_payment_method",
        **_nothing(
            "allowed_payment_method_types", "application", "application_fee_amount", "automatic_payment_methods",
            "canceled_at", "cancellation_reason", "customer", "customer_account", "description",
            "excluded_payment_method_types", "hooks", "last_payment_error", "latest_charge", "managed_payments",
            "next_action", "on_behalf_of", "payment_details", "payment_method",
            "payment_method_configuration_details", "payment_record", "presentment_details", "processing",
            "receipt_email", "review", "setup_future_usage", "shipping", "source", "statement_descriptor",
            "statement_descriptor_suffix", "transfer_data", "transfer_group"),
    }  # fmt: skip


def charge() -> Doc:
    """https://docs.stripe.com/api/charges/object."""
    return {
        "object": "charge", "amount_captured": 0, "amount_refunded": 0, "billing_details": billing_details(),
        "calculated_statement_descriptor": "CONSULTANTPRO", "captured": False, "disputed": False,
        "fraud_details": {}, "livemode": False, "metadata": {}, "paid": False, "refunded": False,
        "radar_options": {},
        **_nothing(
            "application", "application_fee", "application_fee_amount", "authorization_code",
            "balance_transaction", "customer", "description", "failure_balance_transaction", "failure_code",
            "failure_message", "on_behalf_of", "outcome", "payment_intent", "payment_method",
            "payment_method_details", "presentment_details", "receipt_email", "receipt_number", "receipt_url",
            "review", "shipping", "source", "source_transfer", "statement_descriptor",
            "statement_descriptor_suffix", "transfer", "transfer_data", "transfer_group"),
    }  # fmt: skip


def refund() -> Doc:
    """https://docs.stripe.com/api/refunds/object."""
    return {
        "object": "refund", "metadata": {}, "status": "succeeded",
        **_nothing(
            "balance_transaction", "charge", "customer", "customer_account", "description",
            "destination_details", "failure_balance_transaction", "failure_reason", "instructions_email",
            "next_action", "payment_intent", "payment_method", "pending_reason", "presentment_details", "reason",
            "receipt_number", "source_transfer_reversal", "transfer_reversal"),
    }  # fmt: skip


def dispute() -> Doc:
    """https://docs.stripe.com/api/disputes/object."""
    return {
        "object": "dispute", "balance_transactions": [], "enhanced_eligibility_types": [], "evidence": {},
        "evidence_details": {"due_by": None, "enhanced_eligibility": {}, "has_evidence": False,
                             "past_due": False, "submission_count": 0, "submission_method": None},
        "intended_submission_method": None, "is_charge_refundable": False, "livemode": False, "metadata": {},
        "network_reason_code": None, "payment_intent": None, "payment_method_details": None,
        "reason": "general", "status": "needs_response",
    }  # fmt: skip


def invoice() -> Doc:
    """https://docs.stripe.com/api/invoices/object; ``_lines`` holds the line items.

    ``_amount_paid_off_stripe`` is shown when it is expanded only, and never in an event:
    https://docs.stripe.com/changelog/dahlia/2026-05-27/invoice-object-amount-paid-off-stripe-property.
    """
    return {
        "object": "invoice", "account_country": "US", "account_name": "Sandbox", "amount_due": 0,
        "amount_overpaid": 0, "amount_paid": 0, "_amount_paid_off_stripe": 0, "amount_remaining": 0,
        "amount_shipping": 0, "attempt_count": 0, "attempted": False, "auto_advance": False,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None, "provider": None,
                          "status": None},
        "billing_reason": "manual", "collection_method": "charge_automatically", "currency": "usd",
        "customer_tax_exempt": "none", "customer_tax_ids": [], "default_tax_rates": [], "discounts": [],
        "issuer": {"type": "self"}, "livemode": False, "metadata": {},
        "payment_settings": _nothing("default_mandate", "payment_method_options", "payment_method_types"),
        "post_payment_credit_notes_amount": 0, "pre_payment_credit_notes_amount": 0, "starting_balance": 0,
        "status": "draft", "subtotal": 0, "subtotal_excluding_tax": 0, "total": 0,
        "status_transitions": _nothing("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at"),
        "total_discount_amounts": [], "total_excluding_tax": 0, "total_pretax_credit_amounts": [],
        "total_taxes": [], "_lines": [],
        **_nothing(
            "account_tax_ids", "application", "automatically_finalizes_at", "confirmation_secret",
            "custom_fields", "customer", "customer_account", "customer_address", "customer_email",
            "customer_name", "customer_phone", "customer_shipping", "default_payment_method", "default_source",
            "description", "due_date", "effective_at", "ending_balance", "footer", "from_invoice",
            "hosted_invoice_url", "invoice_pdf", "last_finalization_error", "latest_revision",
            "next_payment_attempt", "number", "on_behalf_of", "parent", "receipt_number", "rendering",
            "shipping_cost", "shipping_details", "statement_descriptor", "status_details", "test_clock",
            "threshold_reason", "webhooks_delivered_at"),
    }  # fmt: skip


def invoiceitem() -> Doc:
    """https://docs.stripe.com/api/invoiceitems/object."""
    return {
        "object": "invoiceitem", "discountable": True, "discounts": [], "livemode": False, "metadata": {},
        "proration": False, "quantity": 1, "quantity_decimal": "1", "tax_rates": [],
        **_nothing("customer_account", "description", "frozen_fields", "invoice", "invoicing_rules", "parent", "pricing", "proration_details",
                   "test_clock"),
    }  # fmt: skip


def line_item() -> Doc:
    """https://docs.stripe.com/api/invoice-line-item/object."""
    return {
        "object": "line_item", "discount_amounts": [], "discountable": True, "discounts": [],
        "livemode": False, "metadata": {}, "pretax_credit_amounts": [], "quantity": 1,
        "quantity_decimal": "1", "taxes": [],
        **_nothing("description", "parent", "pricing", "subscription"),
    }  # fmt: skip


def invoice_payment() -> Doc:
    """https://docs.stripe.com/api/invoice-payment/object."""
    return {
        "object": "invoice_payment", "amount_paid": None, "is_default": False, "livemode": False,
        "status": "open", "status_transitions": {"canceled_at": None, "paid_at": None},
    }  # fmt: skip


def event() -> Doc:
    """https://docs.stripe.com/api/events/object."""
    return {"object": "event", "api_version": API_VERSION, "livemode": False, "pending_webhooks": 0}


SHAPES: dict[str, Callable[[], Doc]] = {
    "customer": customer,
    "payment_method": payment_method,
    "payment_intent": payment_intent,
    "charge": charge,
    "refund": refund,
    "dispute": dispute,
    "invoice": invoice,
    "invoiceitem": invoiceitem,
    "line_item": line_item,
    "invoice_payment": invoice_payment,
    "event": event,
}


def shown(doc: Doc) -> Doc:
    """Return the members of an object that leave the sandbox."""
    return {name: value for name, value in doc.items() if not name.startswith("_")}
