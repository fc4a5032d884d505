"""Where each provider's webhook events are stored: all that differs between the four."""

from __future__ import annotations

from dataclasses import dataclass

from cp_ops.runtime.preflight import Table

PROCESSED_SUCCESSFULLY = "privacy/webhook_cleanup/processed_successfully"
PROCESSED_WITHOUT_ERROR = "privacy/webhook_cleanup/processed_without_error"


@dataclass(frozen=True, slots=True)
class ProviderEvents:
    """A provider's table of webhook events.

    :ivar table: the table, with the columns that the statements read.
    :ivar at: the column that says how old an event is.
    :ivar processed: the template that tells whether an event was processed without an error.
    :ivar counting: what the statement that counts is called where it fails.
    :ivar deleting: what the statement that deletes is called where it fails.
    """

    table: Table
    at: str
    processed: str
    counting: str
    deleting: str


def _table(name: str, columns: str) -> Table:
    return Table.of(name, f"id firm_id {columns}", "SELECT", "DELETE", optional=True)


PROVIDERS: dict[str, ProviderEvents] = {
    "stripe": ProviderEvents(
        _table("finance_stripe_webhook_events", "processed_at processed_successfully"),
        at="processed_at",
        processed=PROCESSED_SUCCESSFULLY,
        counting="privacy/stripe_backlog",
        deleting="privacy/delete_stripe_events",
    ),
    "square": ProviderEvents(
        _table("finance_square_webhook_events", "processed_at processed_successfully"),
        at="processed_at",
        processed=PROCESSED_SUCCESSFULLY,
        counting="privacy/square_backlog",
        deleting="privacy/delete_square_events",
    ),
    "docusign": ProviderEvents(
        _table("esignature_webhook_events", "received_at processed error_message"),
        at="received_at",
        processed=PROCESSED_WITHOUT_ERROR,
        counting="privacy/docusign_backlog",
        deleting="privacy/delete_docusign_events",
    ),
    "sms": ProviderEvents(
        _table("sms_webhook_events", "processed_at processed_successfully"),
        at="processed_at",
        processed=PROCESSED_SUCCESSFULLY,
        counting="privacy/sms_backlog",
        deleting="privacy/delete_sms_events",
    ),
}
"""The option `provider` to its events."""
