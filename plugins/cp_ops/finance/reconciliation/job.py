"""reconcile_stripe: compare the invoices that refer to Stripe with Stripe, both ways, and report; change nothing."""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from cp_ops.finance.reconciliation.kinds import KINDS
from cp_ops.finance.reconciliation.listing import EVENT_DAYS, StripeListing, StripeReader
from cp_ops.finance.reconciliation.options import ReconcileStripeOptions
from cp_ops.finance.reconciliation.tally import Verdicts, orphan_row
from cp_ops.runtime.audit import Category
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.plan import Action, Plan
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from cp_ops.runtime.database import Tenant

log = logging.getLogger(__name__)

CREATE = (
    *(f"create_stripe_{name}" for name in ("invoice", "payment", "link", "dispute", "population", "finding")),
    *(f"index_stripe_{name}" for name in ("invoices", "payments", "links", "disputes")),
)
CHUNK = 2_000
"""Invoices compared between two writes to the staging table."""
MOVING = "changed while it was compared"


class ReconcileStripe(Job[ReconcileStripeOptions]):
    """List Stripe's objects, compare each invoice that refers to one, settle the findings.

    :param stripe: Stripe's API; only read.
    """

    command = "reconcile_stripe"
    statements = "finance/reconciliation"
    options = ReconcileStripeOptions
    needs = (
        Table(
            "finance_invoices",
            (
                *("id", "firm_id", "status", "total_amount", "amount_paid", "currency", "paid_date"),
                *("stripe_invoice_id", "stripe_payment_intent_id", "created_at", "updated_at"),
            ),
        ),
        Table("finance_payments", ("id", "firm_id", "status", "payment_method")),
        Table("finance_payment_allocations", ("firm_id", "payment_id", "invoice_id", "amount")),
    )

    def __init__(self, stripe: StripeReader) -> None:
        self._stripe = stripe

    def run(self, run: JobRun, options: ReconcileStripeOptions) -> None:
        """List, compare, then open and resolve findings, unless it is a dry run."""
        calls = self._stripe.calls
        firm_ids = [firm.id for firm in run.firms(options.firm_id)]
        try:
            with run.temporary_tables(CREATE, "drop_stripe_tables"):
                self._reconcile(run, firm_ids, full=options.full)
        finally:
            run.remote_call(self._stripe.calls - calls)
        run.audit(Category.BILLING_METADATA, firm_ids)

    def _reconcile(self, run: JobRun, firm_ids: Sequence[int], *, full: bool) -> None:
        tenants = run.tenants(firm_ids)
        since = None if full else run.now - timedelta(days=run.settings.stripe_lookback_days)
        listing = StripeListing(run, self._stripe)
        listed_since = int(since.timestamp()) if since else None
        listing.take(listed_since)
        changed: set[str] = set()
        if since and listed_since:
            changed = listing.follow_events(_event_horizon(run.now, since), listed_since=listed_since)
        for tenant in tenants:
            with run.read(tenant) as tx:
                tx.execute(
                    "take_population",
                    firm_ids=list(tenant.firm_ids),
                    since=since,
                    changed=sorted(changed),
                    command=self.command,
                )
        self._complete_listing(run, listing, tenants)
        verdicts = Verdicts()
        for tenant in tenants:
            self._compare(run, tenant, verdicts)
        self._note(run, listing, verdicts)
        examined = self._examined(run, firm_ids, verdicts, full=full)
        run.accept(plan_findings(self._changes(run, firm_ids, examined)))
        if not run.dry_run:
            self._settle(run, tenants, examined)

    def _complete_listing(self, run: JobRun, listing: StripeListing, tenants: Sequence[Tenant]) -> None:
        """Fetch one by one what the pages lack, and once more what the application has changed meanwhile."""
        with run.read() as tx:
            tx.execute("analyze_stripe_invoices")
            tx.execute("analyze_stripe_payments")
            tx.execute("analyze_stripe_links")
            tx.execute("analyze_stripe_population")
            size = sum(row["invoices"] for row in tx.rows("population_size", firm_ids=_all(tenants)))
            about = {"command": self.command, "firm_ids": _all(tenants)}
            unlisted = [row["id"] for row in tx.rows("unlisted_invoices", **about)]
        allowance = int(size * run.settings.stripe_max_missing_share)
        listing.fetch("invoices", unlisted, allowance=allowance)
        with run.read() as tx:
            payments = [row["id"] for row in tx.rows("unlisted_payments", **about)]
        listing.fetch("payment_intents", payments, allowance=allowance)
        again: set[tuple[str, str]] = set()
        for tenant in tenants:
            with run.read(tenant) as tx:
                scope = {"firm_ids": list(tenant.firm_ids)}
                tx.execute("retake_references", **scope)
                found = tx.rows("changed_meanwhile", began=run.now, **scope)
                again.update((row["stripe_invoice"], row["payment"]) for row in found)
        listing.fetch("invoices", sorted({i for i, _ in again if i} - set(unlisted)), allowance=allowance)
        listing.fetch(
            "payment_intents", sorted({p for _, p in again if p} - set(payments)), allowance=allowance
        )

    def _compare(self, run: JobRun, tenant: Tenant, verdicts: Verdicts) -> None:
        """Compare a tenant's invoices in one snapshot, staging what is found, chunk by chunk."""
        firm_ids = list(tenant.firm_ids)
        with run.read(tenant, snapshot=True) as tx:
            rows = tx.stream("stripe_comparison", firm_ids=firm_ids)
            while chunk := list(islice(rows, CHUNK)):
                tx.copy("copy_stripe_findings", verdicts.judge(chunk, changed_after=run.now))
                run.progress(f"{verdicts.local} invoices compared")
            size = tx.one("population_size", firm_ids=firm_ids)
            orphans = tx.rows("missing_locally", firm_ids=firm_ids)
            tx.copy("copy_stripe_findings", map(orphan_row, orphans))
        verdicts.orphans += len(orphans)
        verdicts.population += size["invoices"] if size else 0

    def _note(self, run: JobRun, listing: StripeListing, verdicts: Verdicts) -> None:
        """Assert that every invoice got exactly one verdict, and put the numbers into the outcome."""
        verdicts.require_complete()
        for name, value in verdicts.numbers().items():
            run.note(name, value)
        for name, value in listing.listed.items():
            run.note(f"stripe_{name}", value)
        run.note("list_calls", listing.pages)
        run.note("single_fetches", listing.single_fetches)
        with run.read() as tx:
            others = tx.one("stripe_coverage") or {}
        for name, value in others.items():
            run.note(f"stripe_{name}_not_ours", value)
        run.skip(MOVING, len(verdicts.moving))
        log.info("reconciled: %s", " ".join(f"{name}={value}" for name, value in run.outcome.numbers.items()))

    def _examined(self, run: JobRun, firm_ids: Sequence[int], verdicts: Verdicts, *, full: bool) -> list[str]:
        with run.read() as tx:
            rows = tx.rows(
                "examined_findings",
                command=self.command,
                firm_ids=list(firm_ids),
                moving=verdicts.moving,
                everything=full,
            )
        return [row["subject"] for row in rows]

    def _changes(self, run: JobRun, firm_ids: Sequence[int], examined: Sequence[str]) -> list[dict[str, Any]]:
        with run.read() as tx:
            return tx.rows(
                "stripe_finding_changes",
                command=self.command,
                firm_ids=list(firm_ids),
                examined=list(examined),
            )

    def _settle(self, run: JobRun, tenants: Sequence[Tenant], examined: Sequence[str]) -> None:
        for tenant in tenants:
            with run.write(tenant) as tx, run.findings(tx) as ledger:
                tx.execute("see_stripe_findings", firm_ids=list(tenant.firm_ids))
                settled = ledger.settle(
                    kinds=list(KINDS),
                    firm_ids=tenant.firm_ids,
                    category=Category.BILLING_METADATA,
                    subjects=examined,
                )
            run.count_findings(settled)
            run.done("findings_opened", settled.opened)
            run.done("findings_resolved", settled.resolved)


def plan_findings(changes: Iterable[dict[str, Any]]) -> Plan:
    """Plan what to open and resolve, per kind and firm. Pure."""
    reasons = {"open": "found and not known yet", "resolve": "known and not found any more"}
    return Plan.of(
        Action(
            f"{change['change']}_{change['kind']}",
            f"{change['kind']}:firm:{change['firm_id']}",
            reasons[change["change"]],
            change["firm_id"],
            change["findings"],
            {"subjects": change["subjects_sha256"]},
        )
        for change in changes
    )


def _event_horizon(now: datetime, since: datetime) -> int:
    return int(max(since, now - timedelta(days=EVENT_DAYS)).timestamp())


def _all(tenants: Sequence[Tenant]) -> list[int]:
    return [firm_id for tenant in tenants for firm_id in tenant.firm_ids]
