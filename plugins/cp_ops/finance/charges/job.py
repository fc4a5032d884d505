"""process_recurring_charges: charge the balance of due invoices to their clients' stored payment methods."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from cp_ops.finance.caps import cap_totals
from cp_ops.finance.charges.anomaly import PastRun, cap_anomaly
from cp_ops.finance.charges.attempts import Attempts
from cp_ops.finance.charges.charging import NewCharges
from cp_ops.finance.charges.options import ProcessRecurringChargesOptions
from cp_ops.finance.charges.plan import (
    ATTACH,
    CHARGE,
    OPEN_STATUSES,
    RESOLVE,
    Candidate,
    ChargePlan,
    Unfinished,
    plan_charges,
)
from cp_ops.finance.charges.preconditions import PaymentMethods
from cp_ops.finance.charges.unfinished import UnfinishedAttempts
from cp_ops.runtime.audit import Category
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.money import parse_limits
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cp_ops.finance.charges.intents import StripePayments
    from cp_ops.runtime.database import Tenants
    from cp_ops.runtime.firms import Firm

log = logging.getLogger(__name__)

LAST_RUNS = 30
"""How many earlier runs say what is usual."""
NAMED_SKIPS = 100
"""How many invoices that are not charged the log names, with the reason; all are counted."""


class ProcessRecurringCharges(Job[ProcessRecurringChargesOptions]):
    """Settle the attempts of earlier runs, plan who is charged what, check the caps, charge.

    :param stripe: Stripe's API.
    """

    command = "process_recurring_charges"
    statements = "finance/charges"
    options = ProcessRecurringChargesOptions
    needs = (
        Table.of(
            "finance_invoices",
            """
            id firm_id client_id invoice_number status total_amount amount_paid currency due_date paid_date
            payment_failed_at payment_failure_reason payment_failure_code payment_retry_count last_payment_retry_at
            dunning_paused stripe_invoice_id stripe_payment_intent_id autopay_opt_in autopay_payment_method_id
            autopay_status autopay_next_charge_at autopay_last_attempt_at updated_at
            """,
            "SELECT",
            "UPDATE",
        ),
        Table.of(
            "clients_client",
            """
            id firm_id status autopay_enabled autopay_payment_method_id primary_contact_email primary_contact_name
            updated_at
            """,
            "SELECT",
            "UPDATE",
        ),
        Table.of("clients_contact", "client_id email receives_billing_emails is_active status"),
        Table.of("finance_payment_dispute", "invoice_id closed_at"),
        Table.of(
            "finance_payments",
            "id firm_id payment_number amount reference_number amount_allocated",
            "SELECT",
            "INSERT",
        ),
        Table.of("finance_payment_allocations", "payment_id invoice_id amount", "INSERT"),
        Table.of(
            "finance_payment_failure",
            "invoice_id failure_code stripe_payment_intent_id resolved",
            "SELECT",
            "INSERT",
            "UPDATE",
        ),
    )

    def __init__(self, stripe: StripePayments) -> None:
        self._stripe = stripe

    def run(self, run: JobRun, options: ProcessRecurringChargesOptions) -> None:
        """Read, plan, settle what is under way; then check the caps and charge what is due."""
        run.settings.require("default_from_email", why="clients are mailed when a charge fails")
        run.settings.require("frontend_url", why="the mail to a client links to the invoice")
        firms = run.firms(options.firm_id)
        with run.read() as tx:
            unfinished = tx.rows("unfinished_intents", Unfinished, firm_id=options.firm_id)
        # What is under way is settled for firms that are not served any more, too: their clients may have paid.
        tenants = run.tenants(sorted({firm.id for firm in firms} | {intent.firm_id for intent in unfinished}))
        planned = self._plan(run, firms, unfinished)
        for target, error in planned.broken:
            run.fail(target, error)
        applies = run.accept(planned.plan)
        self._explain(run, planned)
        calls = self._stripe.calls
        try:
            self._apply(run, options, planned, tenants, applies=applies)
        finally:
            run.remote_call(self._stripe.calls - calls)
        run.audit(Category.BILLING_METADATA, sorted(tenants.firm_ids))

    def _apply(
        self,
        run: JobRun,
        options: ProcessRecurringChargesOptions,
        planned: ChargePlan,
        tenants: Tenants,
        *,
        applies: bool,
    ) -> None:
        """Settle, check, charge.

        The checks stand between the two. A cap, or a plan that is not the approved one, concerns new charges only: money
        that is under way already must be booked whatever they say.
        """
        attempts = Attempts(run, self._stripe, tenants)
        methods = PaymentMethods(run, self._stripe)
        if applies:
            unfinished = [*planned.plan.of_kind(RESOLVE), *planned.plan.of_kind(ATTACH)]
            UnfinishedAttempts(run, self._stripe, tenants, attempts, methods).finish(unfinished)
        planned.plan.require(options.expected_plan)
        self._check_caps(run, options, planned)
        if applies and (charges := planned.plan.of_kind(CHARGE)):
            NewCharges(run, self._stripe, tenants, attempts, methods).make(charges)

    def _plan(self, run: JobRun, firms: Sequence[Firm], unfinished: Sequence[Unfinished]) -> ChargePlan:
        today = run.firm_days(firms)
        candidates: list[Candidate] = []
        for tenant in run.tenants(sorted(today)):
            with run.read(tenant) as tx:
                candidates += tx.rows(
                    "charge_candidates",
                    Candidate,
                    firm_ids=list(tenant.firm_ids),
                    open_statuses=list(OPEN_STATUSES),
                    now=run.now,
                )
        return plan_charges(candidates, unfinished, today=today, now=run.now)

    def _explain(self, run: JobRun, planned: ChargePlan) -> None:
        """Say who would be charged what, and why the others are not."""
        for action in planned.plan.of_kind(CHARGE):
            log.info("charge: %s firm %s: %s", action.target, action.firm_id, action.reason)
        for skip in planned.plan.skips[:NAMED_SKIPS]:
            log.info("not charged: %s: %s", skip.target, skip.reason)
        for currency, total in planned.totals().items():
            run.note(f"total_{currency}", str(total.amount))
        with run.read() as tx:
            index = tx.one("selection_index")
        if not (index and index["found"]):
            run.note(
                "index_missing", "finance_invoices (firm_id, status): the selection reads the whole table"
            )

    def _check_caps(self, run: JobRun, options: ProcessRecurringChargesOptions, planned: ChargePlan) -> None:
        """Stop before the first charge when the plan is larger than it may be, or than is usual.

        What is usual is not asked where the operator has said what may be: by the plan's hash, or by a cap of their own.
        """
        most, given, stopped = options.max_charges, options.max_total, "nothing new was charged"
        setting = "[cp_ops] charges_max" if most is None else "max_charges"
        limit = run.settings.charges_max if most is None else most
        planned.plan.cap(setting, limit, kind=CHARGE, stopped=stopped)
        if given is None:
            limits = run.settings.charges_max_total
            cap_totals("[cp_ops] charges_max_total", planned.totals(), limits, stopped=stopped)
        else:
            limits = parse_limits(given)
            cap_totals("max_total", planned.totals(), limits, every_currency=True, stopped=stopped)
        if options.expected_plan:
            return
        with run.read() as tx:
            past = _past_runs(tx.rows("past_runs", runs=LAST_RUNS))
        least = run.settings.charges_never_unusual
        cap_anomaly(planned, past, least=least, counts=most is None, sums=given is None)


def _past_runs(rows: Sequence[dict[str, Any]]) -> list[PastRun]:
    """Collect rows of (run, currency) by run."""
    counts: dict[int, dict[str, int]] = {}
    sums: dict[int, dict[str, int]] = {}
    for row in rows:
        key, currency = row["created_by_run"], row["currency"]
        counts.setdefault(key, {})[currency] = row["charges"]
        sums.setdefault(key, {})[currency] = row["amount"]
    return [PastRun(counts[key], sums[key]) for key in counts]
