"""An invoice that is due, and its plan: what the unit tests of charging start from."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from cp_ops.finance.charges.plan import Candidate, plan_charges

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
