"""Clients whose invoices are charged, invoices that differ from Stripe's, and what Stripe has of all of them."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from sandbox.stripe_api.currencies import THREE_DECIMAL, ZERO_DECIMAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

    from sandbox.world.cast import Cast
    from sandbox.world.discrepancies import Manifest

RECONCILE = "reconcile_stripe"
CHARGES = "process_recurring_charges"
OUTCOMES = {
    "charged": "its client's card is charged",
    "insufficient_funds": "declined for now: tried again after three days",
    "stolen_card": "declined for good: autopay goes off",
    "authentication_required": "the client's bank wants it confirmed",
}
DIFFERENCES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "open": (("status_mismatch", "underpaid"), {"status": "open"}),
    "more": (("overpaid",), {"payments": [{"amount": 165000}]}),
    "twice": (("duplicate_payment",), {"payments": [{"amount": 150000}, {"amount": 150000}]}),
    "agreed": (("amount_mismatch",), {"amount": 125000, "payments": [{"amount": 150000}]}),
    "late": (("paid_date_mismatch",), {"paid_days_later": 9}),
    "currency": (("currency_mismatch",), {"currency": "chf"}),
    "gone": (("missing_in_stripe",), {}),
}
"""What differs, by the end of the Stripe invoice's id: the kinds that are found, and how Stripe's invoice is otherwise."""
TOTAL = "1500.00"


def tell(cast: Cast, manifest: Manifest | None) -> None:
    """Write due invoices of clients with a stored card, one for each answer, and one invoice for each difference."""
    firm = cast.firm
    for outcome, note in OUTCOMES.items():
        method = f"pm_demo{firm.id}{outcome}"
        client = firm.client(
            f"Autopay {outcome.replace('_', ' ')}",
            autopay_enabled=True,
            autopay_payment_method_id=method,
            autopay_activated_at=firm.world.ago(days=200),
        )
        invoice = client.invoice(
            "320.00",
            issued_days_ago=32,
            due_in_days=-2,
            autopay_opt_in=True,
            autopay_payment_method_id=method,
        )
        if manifest:
            manifest.plant(CHARGES, outcome, invoice, note)
    for name, (kinds, _) in DIFFERENCES.items():
        invoice = cast.clients[0].invoice(
            TOTAL,
            paid=TOTAL,
            issued_days_ago=20,
            paid_date=firm.day(-15),
            stripe_invoice_id=f"in_demo{firm.id}{name}",
        )
        if manifest:
            for kind in kinds:
                manifest.plant(RECONCILE, kind, invoice, "as Stripe has it, it differs")


def stripe_specs(conn: Connection[Any]) -> Iterator[dict[str, Any]]:
    """Give what Stripe has of the demo world, as its sandbox is seeded: customers, cards, invoices and payments.

    :param conn: a connection of the application tables' owner, row-level security off.
    """
    for row in _rows(conn, "SELECT DISTINCT autopay_payment_method_id AS method FROM clients_client"):
        method = row["method"]
        if not method:
            continue
        outcome = next((name for name in OUTCOMES if method.endswith(name)), "charged")
        customer = f"cus_{method.removeprefix('pm_')}"
        yield {"customer": {"id": customer}}
        card: dict[str, Any] = {"id": method, "customer": customer, "type": "card", "card": {"brand": "visa"}}
        card["_outcome"] = "succeeded" if outcome == "charged" else outcome
        yield {"payment_method": card}
    statement = (
        "SELECT id, firm_id, status, total_amount, amount_paid, currency, issue_date, paid_date, stripe_invoice_id,"
        " stripe_payment_intent_id FROM finance_invoices WHERE stripe_invoice_id <> '' ORDER BY id"
    )
    for row in _rows(conn, statement):
        yield from _invoice(row)
    for row in _rows(conn, "SELECT id, currency FROM firm_firm WHERE status IN ('active', 'trial')"):
        lost = {"firm_id": str(row["id"]), "invoice_id": "99999999"}
        payment = {"id": f"pi_demo{row['id']}lost", "amount": 4200, "currency": row["currency"].lower()}
        yield {"payment_intent": payment | {"metadata": lost}}


def _invoice(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    name = next((name for name in DIFFERENCES if row["stripe_invoice_id"].endswith(name)), "")
    if name == "gone":
        return
    changes = dict(DIFFERENCES[name][1]) if name else {}
    currency = row["currency"].lower()
    scale = 1 if currency in ZERO_DECIMAL else 1000 if currency in THREE_DECIMAL else 100
    amount = int(row["total_amount"] * scale)
    paid_at = _noon(row["paid_date"] or row["issue_date"]) + 86_400 * changes.pop("paid_days_later", 0)
    spec: dict[str, Any] = {
        "id": row["stripe_invoice_id"],
        "amount": amount,
        "currency": currency,
        "created": _noon(row["issue_date"]),
        "status": {"paid": "paid", "draft": "draft", "cancelled": "void"}.get(row["status"], "open"),
        "metadata": {"firm_id": str(row["firm_id"]), "invoice_id": str(row["id"])},
    }
    spec |= changes
    received = int(row["amount_paid"] * scale)
    if spec["status"] == "open":
        spec["payments"] = [] if changes else [{"amount": received}] if received else []
    elif spec["status"] == "paid":
        payments = spec.get("payments", [{"amount": spec["amount"]}])
        spec["payments"] = [payment | {"paid_at": paid_at} for payment in payments]
        if row["stripe_payment_intent_id"]:
            spec["payments"][0]["id"] = row["stripe_payment_intent_id"]
    yield {"invoice": spec}


def _noon(day: Any) -> int:
    return int((datetime.combine(day, time(), UTC) + timedelta(hours=12)).timestamp())


def _rows(conn: Connection[Any], statement: str) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement).fetchall()
