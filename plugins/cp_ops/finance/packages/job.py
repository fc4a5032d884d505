"""generate_package_invoices: issue the invoices of package fees, one per engagement and billing period."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from cp_ops.finance.caps import cap_totals
from cp_ops.finance.packages.options import GeneratePackageInvoicesOptions
from cp_ops.finance.packages.plan import (
    ALREADY_INVOICED,
    FirmBilling,
    PackageEngagement,
    PackagePlan,
    plan_package_invoices,
)
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import OptionsError, RowFailedError, StatementFailedError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.money import Money, exponent, totals
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from decimal import Decimal

    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.firms import Firm
    from cp_ops.runtime.plan import Action

log = logging.getLogger(__name__)

BATCH = 2_000
"""Invoices per INSERT."""
AHEAD = timedelta(days=31)
"""How far a reference date may be in the future: the next month's invoices can be issued early, the next decade's not."""

INVOICE_COLUMNS = tuple(
    """
    firm_id client_id engagement_id engagement_override engagement_override_reason invoice_number status subtotal
    tax_amount total_amount amount_paid currency issue_date due_date payment_terms period_start period_end
    is_auto_generated dunning_level dunning_paused dunning_pause_reason payment_failure_reason payment_failure_code
    payment_retry_count stripe_payment_intent_id line_items notes stripe_invoice_id autopay_opt_in autopay_cadence
    autopay_payment_method_id autopay_next_charge_at autopay_status created_at updated_at
    """.split()  # noqa: SIM905 - a table
)


class GeneratePackageInvoices(Job[GeneratePackageInvoicesOptions]):
    """Plan which package fees are due, then insert their invoices in batches."""

    command = "generate_package_invoices"
    statements = "finance/packages"
    options = GeneratePackageInvoicesOptions
    needs = (
        Table(
            "clients_engagement",
            (
                *("id", "firm_id", "client_id", "contract_id", "status", "pricing_mode", "package_fee"),
                *("package_fee_schedule", "start_date", "end_date", "actual_end_date"),
            ),
        ),
        Table("clients_client", ("id", "firm_id", "autopay_enabled", "autopay_payment_method_id")),
        Table("crm_contracts", ("id", "firm_id", "title")),
        Table("finance_invoices", ("id", *INVOICE_COLUMNS), ("SELECT", "INSERT")),
    )

    def run(self, run: JobRun, options: GeneratePackageInvoicesOptions) -> None:
        """Read the engagements, plan, check the caps, insert."""
        billing = _billing(run, run.firms(options.firm_id), options.reference_date)
        tenants = run.tenants(list(billing))
        found = self._plan(run, tenants, billing, backfill=options.backfill)
        for target, error in found.unbillable:
            run.fail(target, error)
        applies = run.accept(found.plan)
        _explain(found)
        sums = totals(_money(action) for action in found.plan.actions)
        for currency, total in sums.items():
            run.note(f"total_{currency}", str(total.amount))
        found.plan.cap("[cp_ops] package_invoices_max", run.settings.package_invoices_max)
        cap_totals("[cp_ops] package_invoices_max_total", sums, run.settings.package_invoices_max_total)
        if applies:
            for tenant in tenants:
                members = frozenset(tenant.firm_ids)
                actions = (action for action in found.plan.actions if action.firm_id in members)
                for batch in _batches(actions):
                    self._issue(run, tenant, batch)
        run.audit(Category.BILLING_METADATA, list(billing))

    def _plan(
        self, run: JobRun, tenants: Sequence[Tenant], billing: dict[int, FirmBilling], *, backfill: bool
    ) -> PackagePlan:
        engagements: list[PackageEngagement] = []
        for tenant in tenants:
            with run.read(tenant) as tx:
                engagements += tx.rows(
                    "package_engagements", PackageEngagement, firm_ids=list(tenant.firm_ids)
                )
        if run.session.guarded:
            run.note("engagements_without_firm", "hidden by row-level security")
        rules: dict[str, Any] = {"firms": billing, "prorate": run.settings.prorate, "backfill": backfill}
        found = plan_package_invoices(engagements, **rules)
        taken = self._taken_numbers(run, tenants, found)
        return plan_package_invoices(engagements, **rules, taken_numbers=taken) if taken else found

    def _taken_numbers(
        self, run: JobRun, tenants: Sequence[Tenant], found: PackagePlan
    ) -> frozenset[tuple[int, str]]:
        taken: set[tuple[int, str]] = set()
        for tenant in tenants:
            planned = [action for action in found.plan.actions if action.firm_id in tenant.firm_ids]
            if planned:
                with run.read(tenant) as tx:
                    rows = tx.rows(
                        "taken_invoice_numbers",
                        firm_ids=[action.firm_id for action in planned],
                        numbers=[action.data["number"] for action in planned],
                    )
                taken.update((row["firm_id"], row["invoice_number"]) for row in rows)
        return frozenset(taken)

    def _issue(self, run: JobRun, tenant: Tenant, batch: Sequence[Action]) -> None:
        """Insert a batch; one that the database refuses is halved until the invoices at fault stand alone."""
        try:
            with run.write(tenant) as tx:
                issued = tx.rows("insert_package_invoices", now=run.now, **_columns(batch))
        except StatementFailedError as error:
            if len(batch) == 1:
                run.fail(batch[0].target, error)
                return
            middle = len(batch) // 2
            self._issue(run, tenant, batch[:middle])
            self._issue(run, tenant, batch[middle:])
            return
        for row in issued:
            run.done("invoices_issued", row["invoices"], row["firm_id"])
        run.skip("changed since it was planned", len(batch) - sum(row["invoices"] for row in issued))
        run.progress(f"{run.outcome.done} of {run.outcome.planned} invoices issued")


def _billing(run: JobRun, firms: Sequence[Firm], reference: date | None) -> dict[int, FirmBilling]:
    """Give each firm's day and currency; a firm whose time zone or currency is not known is a failed row.

    :raises OptionsError: when the reference date is too far ahead.
    """
    billing: dict[int, FirmBilling] = {}
    for firm in firms:
        try:
            today, currency = firm.today(run.now), firm.currency.strip().upper()
            exponent(currency)
        except RowFailedError as error:
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


def _explain(found: PackagePlan) -> None:
    """Log the first engagements that were passed over for a reason that a person may want to look into."""
    unusual = [skip for skip in found.plan.skips if skip.reason != ALREADY_INVOICED]
    for skip in unusual[:50]:
        log.info("not invoiced: %s: %s", skip.target, skip.reason)
    if len(unusual) > 50:  # noqa: PLR2004 - as above
        log.info("... and %d more that were not invoiced", len(unusual) - 50)


def _money(action: Action) -> Money:
    return Money(int(action.data["minor_units"] or 0), str(action.data["currency"]))


def _batches(actions: Iterable[Action]) -> Iterator[list[Action]]:
    rest = iter(actions)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _columns(batch: Sequence[Action]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        name: [action.data[key] for action in batch]
        for name, key in (
            ("engagement_ids", "engagement_id"),
            ("numbers", "number"),
            ("period_starts", "period_start"),
            ("period_ends", "period_end"),
            ("currencies", "currency"),
            ("issue_dates", "issue_date"),
            ("due_dates", "due_date"),
            ("next_charges", "next_charge_at"),
        )
    }
    amounts: list[Decimal] = [_money(action).for_ledger() for action in batch]
    return {**columns, "firm_ids": [action.firm_id for action in batch], "amounts": amounts}
