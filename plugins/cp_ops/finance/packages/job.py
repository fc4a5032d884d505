"""generate_package_invoices: issue the invoices of package fees, one per engagement and billing period."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from cp_ops.finance.caps import cap_totals
from cp_ops.finance.packages.options import GeneratePackageInvoicesOptions
from cp_ops.finance.packages.plan import (
    FirmBilling,
    IssueInvoice,
    NotInvoiced,
    PackageEngagement,
    PackagePlan,
    plan_package_invoices,
)
from cp_ops.runtime.audit import Category
from cp_ops.runtime.batches import apply_or_halve, batched, by_tenant
from cp_ops.runtime.errors import OptionsError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.money import MoneyError, exponent, totals
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from cp_ops.runtime.database import Tenant, Tenants
    from cp_ops.runtime.errors import StatementFailedError
    from cp_ops.runtime.firms import Firm
    from cp_ops.runtime.plan import Action, Plan

__all__ = ["GeneratePackageInvoices"]  # operators name their job as text

log = logging.getLogger(__name__)

BATCH = 2_000
"""Invoices per INSERT."""
AHEAD = timedelta(days=31)
"""How far a reference date may be in the future: the next month's invoices can be issued early, the next decade's not."""

EXPLAINED = 50
"""How many engagements that were passed over the log names."""


class GeneratePackageInvoices(Job[GeneratePackageInvoicesOptions]):
    """Plan which package fees are due, then insert their invoices in batches."""

    command = "generate_package_invoices"
    statements = "finance/packages"
    options = GeneratePackageInvoicesOptions
    needs = (
        Table.of(
            "clients_engagement",
            "id firm_id client_id contract_id status pricing_mode package_fee package_fee_schedule start_date end_date"
            " actual_end_date",
        ),
        Table.of("clients_client", "id firm_id autopay_enabled autopay_payment_method_id"),
        Table.of("crm_contracts", "id firm_id title"),
        Table.of(
            "finance_invoices",
            "id firm_id client_id engagement_id engagement_override engagement_override_reason invoice_number status"
            " subtotal tax_amount total_amount amount_paid currency issue_date due_date payment_terms period_start"
            " period_end is_auto_generated dunning_level dunning_paused dunning_pause_reason payment_failure_reason"
            " payment_failure_code payment_retry_count stripe_payment_intent_id line_items notes stripe_invoice_id"
            " autopay_opt_in autopay_cadence autopay_payment_method_id autopay_next_charge_at autopay_status"
            " created_at updated_at",
            "SELECT",
            "INSERT",
        ),
    )

    def run(self, run: JobRun, options: GeneratePackageInvoicesOptions) -> None:
        """Read the engagements, plan, check the caps, insert."""
        billing = _billing(run, run.firms(options.firm_id), options.reference_date)
        tenants = run.tenants(list(billing))
        found = self._plan(run, tenants, billing, backfill=options.backfill)
        for target, error in found.unbillable:
            run.fail(target, error)
        # Before the caps: a run that is stopped has recorded and logged what it would have done.
        applies = run.accept(found.plan)
        _explain(found)
        _cap(run, found.plan)
        if applies:
            for tenant, actions in by_tenant(found.plan.actions, tenants):
                for batch in batched(actions, BATCH):
                    apply_or_halve(batch, partial(_issue, run, tenant), partial(_refused, run))
        run.audit(Category.BILLING_METADATA, list(billing))

    def _plan(
        self, run: JobRun, tenants: Tenants, billing: dict[int, FirmBilling], *, backfill: bool
    ) -> PackagePlan:
        engagements: list[PackageEngagement] = []
        for tenant in tenants:
            with run.read(tenant) as tx:
                engagements += tx.rows(
                    "package_engagements", PackageEngagement, firm_ids=list(tenant.firm_ids)
                )
        if run.session.guarded:
            run.note("engagements_without_firm", "hidden by row-level security")
        plan = partial(
            plan_package_invoices, engagements, firms=billing, prorate=run.settings.prorate, backfill=backfill
        )
        found = plan()
        # Which invoice numbers matter is known only once it is planned, so a taken one costs a second, equal planning.
        taken = _taken_numbers(run, tenants, found.plan)
        return plan(taken_numbers=taken) if taken else found


def _billing(run: JobRun, firms: Sequence[Firm], reference: date | None) -> dict[int, FirmBilling]:
    """Give each firm's day and currency; a firm whose time zone or currency is not known is a failed row.

    :raises OptionsError: when the reference date is too far ahead.
    """
    billing: dict[int, FirmBilling] = {}
    for firm in firms:
        # Firm by firm: failures are named in the order of the firms, whatever is wrong with each.
        today = run.firm_days([firm]).get(firm.id)
        if today is None:
            continue
        currency = firm.currency.strip().upper()
        try:
            exponent(currency)
        except MoneyError as error:
            run.fail(f"firm_firm:{firm.id}", error)
            continue
        if reference is not None and reference > today + AHEAD:
            raise OptionsError(
                "reference_date",
                f"{reference} is more than {AHEAD.days} days ahead",
                f"Today is {today} where firm {firm.id} is",
            )
        billing[firm.id] = FirmBilling(today, reference or today, currency, firm.timezone)
    return billing


def _taken_numbers(run: JobRun, tenants: Tenants, plan: Plan) -> frozenset[tuple[int, str]]:
    """Give the planned invoice numbers that an invoice of the firm bears already, with their firms."""
    taken: set[tuple[int, str]] = set()
    for tenant, actions in by_tenant(plan.actions, tenants):
        planned = [(action.firm_id, action.payload(IssueInvoice).number) for action in actions]
        with run.read(tenant) as tx:
            rows = tx.rows(
                "taken_invoice_numbers",
                firm_ids=[firm_id for firm_id, _ in planned],
                numbers=[number for _, number in planned],
            )
        taken.update((row["firm_id"], row["invoice_number"]) for row in rows)
    return frozenset(taken)


def _explain(found: PackagePlan) -> None:
    """Log the first engagements that were passed over for a reason that a person may want to look into."""
    unusual = [skip for skip in found.plan.skips if skip.reason != NotInvoiced.ALREADY_INVOICED]
    for skip in unusual[:EXPLAINED]:
        log.info("not invoiced: %s: %s", skip.target, skip.reason)
    if len(unusual) > EXPLAINED:
        log.info("... and %d more that were not invoiced", len(unusual) - EXPLAINED)


def _cap(run: JobRun, plan: Plan) -> None:
    """Refuse too many invoices, and too much money of a currency; the totals are in the outcome either way."""
    sums = totals(action.payload(IssueInvoice).money for action in plan.actions)
    for currency, total in sums.items():
        run.note(f"total_{currency}", str(total.amount))
    plan.cap("[cp_ops] package_invoices_max", run.settings.package_invoices_max)
    cap_totals("[cp_ops] package_invoices_max_total", sums, run.settings.package_invoices_max_total)


def _issue(run: JobRun, tenant: Tenant, batch: Sequence[Action]) -> None:
    """Insert a batch in one transaction, and count what it did."""
    with run.write(tenant) as tx:
        issued = tx.rows("insert_package_invoices", now=run.now, **_columns(batch))
    for row in issued:
        run.done("invoices_issued", row["invoices"], row["firm_id"])
    run.skip("changed since it was planned", len(batch) - sum(row["invoices"] for row in issued))
    run.progress(f"{run.outcome.done} of {run.outcome.planned} invoices issued")


def _refused(run: JobRun, action: Action, error: StatementFailedError) -> None:
    run.fail(action.target, error)


def _columns(batch: Sequence[Action]) -> dict[str, list[Any]]:
    """Give the invoices as parallel arrays."""
    invoices = [action.payload(IssueInvoice) for action in batch]
    return {
        "firm_ids": [action.firm_id for action in batch],
        "engagement_ids": [invoice.engagement_id for invoice in invoices],
        "numbers": [invoice.number for invoice in invoices],
        "period_starts": [invoice.period_start for invoice in invoices],
        "period_ends": [invoice.period_end for invoice in invoices],
        "amounts": [invoice.money.for_ledger() for invoice in invoices],
        "currencies": [invoice.currency for invoice in invoices],
        "issue_dates": [invoice.issue_date for invoice in invoices],
        "due_dates": [invoice.due_date for invoice in invoices],
        "next_charges": [invoice.next_charge_at for invoice in invoices],
    }
