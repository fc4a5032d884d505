"""reconcile_stripe: compare the invoices that refer to Stripe with Stripe, both ways, and report; change nothing."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from cp_ops.finance.reconciliation.kinds import KINDS
from cp_ops.finance.reconciliation.listing import EVENT_DAYS, Resource, StripeListing, StripeReader
from cp_ops.finance.reconciliation.options import ReconcileStripeOptions
from cp_ops.finance.reconciliation.tally import Tally
from cp_ops.runtime.audit import Category
from cp_ops.runtime.batches import batched
from cp_ops.runtime.finding_changes import FindingChange, plan_findings
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from cp_ops.runtime.database import Tenant, Tenants, Transaction
    from cp_ops.runtime.findings import Finding

log = logging.getLogger(__name__)

CREATE = (
    "create_stripe_invoice",
    "create_stripe_payment",
    "create_stripe_link",
    "create_stripe_dispute",
    "create_stripe_population",
    "create_stripe_finding",
    "index_stripe_invoices",
    "index_stripe_payments",
    "index_stripe_links",
    "index_stripe_disputes",
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
        Table.of(
            "finance_invoices",
            "id firm_id status total_amount amount_paid currency paid_date stripe_invoice_id stripe_payment_intent_id"
            " created_at updated_at",
        ),
        Table.of("finance_payments", "id firm_id status payment_method"),
        Table.of("finance_payment_allocations", "firm_id payment_id invoice_id amount"),
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
        changed = self._list(run, listing, since)
        for tenant in tenants:
            with run.read(tenant) as tx:
                tx.execute(
                    "take_population",
                    firm_ids=list(tenant.firm_ids),
                    since=since,
                    changed=sorted(changed),
                    command=self.command,
                )
        # What is compared is settled before anything is fetched singly: those fetches are for what it refers to.
        self._complete_listing(run, listing, tenants)
        tally = Tally()
        for tenant in tenants:
            self._compare(run, tenant, tally)
        tally.require_complete()
        self._note(run, listing, tally)
        examined = self._examined(run, firm_ids, tally, full=full)
        run.accept(plan_findings(self._changes(run, firm_ids, examined)))
        # An empty plan is settled, too: findings that are still true are seen again.
        if not run.dry_run:
            self._settle(run, tenants, examined)

    def _list(self, run: JobRun, listing: StripeListing, since: datetime | None) -> set[str]:
        """List what was created since, and follow the events of older objects; gives the ids of all that changed."""
        if since is None:
            listing.take(None)
            return set()
        listed_since = int(since.timestamp())
        listing.take(listed_since)
        return listing.follow_events(_event_horizon(run.now, since), listed_since=listed_since)

    def _complete_listing(self, run: JobRun, listing: StripeListing, tenants: Tenants) -> None:
        """Fetch one by one what the pages lack, and once more what the application has changed meanwhile."""
        about = {"command": self.command, "firm_ids": tenants.firm_ids}
        with run.read() as tx:
            tx.execute("analyze_stripe_invoices")
            tx.execute("analyze_stripe_payments")
            tx.execute("analyze_stripe_links")
            tx.execute("analyze_stripe_population")
            size = sum(row["invoices"] for row in tx.rows("population_size", firm_ids=tenants.firm_ids))
            invoices = [row["id"] for row in tx.rows("unlisted_invoices", **about)]
        allowance = int(size * run.settings.stripe_max_missing_share)
        listing.fetch(Resource.INVOICES, invoices, allowance=allowance)
        # Only now: an invoice that was just fetched names payments that no list has shown.
        with run.read() as tx:
            payments = [row["id"] for row in tx.rows("unlisted_payments", **about)]
        listing.fetch(Resource.PAYMENT_INTENTS, payments, allowance=allowance)
        again = self._changed_meanwhile(run, tenants)
        changed_invoices = {invoice for invoice, _ in again if invoice}
        changed_payments = {payment for _, payment in again if payment}
        listing.fetch(Resource.INVOICES, sorted(changed_invoices - set(invoices)), allowance=allowance)
        listing.fetch(Resource.PAYMENT_INTENTS, sorted(changed_payments - set(payments)), allowance=allowance)

    def _changed_meanwhile(self, run: JobRun, tenants: Tenants) -> set[tuple[str, str]]:
        """Give the references of invoices that were changed since the run began.

        A webhook may have landed since Stripe was listed: the listing then still shows the invoice open, the
        application already shows it paid.
        """
        again: set[tuple[str, str]] = set()
        for tenant in tenants:
            with run.read(tenant) as tx:
                scope = {"firm_ids": list(tenant.firm_ids)}
                tx.execute("retake_references", **scope)
                found = tx.rows("changed_meanwhile", began=run.now, **scope)
                again.update((row["stripe_invoice"], row["payment"]) for row in found)
        return again

    def _compare(self, run: JobRun, tenant: Tenant, tally: Tally) -> None:
        """Compare a tenant's invoices in one snapshot, staging what is found, chunk by chunk."""
        firm_ids = list(tenant.firm_ids)
        with run.read(tenant, snapshot=True) as tx:
            for chunk in batched(tx.stream("stripe_comparison", firm_ids=firm_ids), CHUNK):
                _stage(tx, tally.judge(chunk, changed_after=run.now))
                run.progress(f"{tally.local} invoices compared")
            size = tx.one("population_size", firm_ids=firm_ids)
            orphans = tx.rows("missing_locally", firm_ids=firm_ids)
            _stage(tx, tally.take_orphans(orphans))
        tally.population += size["invoices"] if size else 0

    def _note(self, run: JobRun, listing: StripeListing, tally: Tally) -> None:
        """Put the numbers into the outcome."""
        for name, value in tally.numbers().items():
            run.note(name, value)
        for resource, value in listing.listed.items():
            run.note(f"stripe_{resource}", value)
        run.note("list_calls", listing.pages)
        run.note("single_fetches", listing.single_fetches)
        with run.read() as tx:
            others = tx.one("stripe_coverage") or {}
        for name, value in others.items():
            run.note(f"stripe_{name}_not_ours", value)
        run.skip(MOVING, len(tally.moving))
        log.info("reconciled: %s", " ".join(f"{name}={value}" for name, value in run.outcome.numbers.items()))

    def _examined(self, run: JobRun, firm_ids: Sequence[int], tally: Tally, *, full: bool) -> list[str]:
        """List the open findings that this run has examined: unless they were seen again, they are resolved."""
        with run.read() as tx:
            rows = tx.rows(
                "examined_findings",
                command=self.command,
                firm_ids=list(firm_ids),
                moving=tally.moving,
                everything=full,
            )
        return [row["subject"] for row in rows]

    def _changes(self, run: JobRun, firm_ids: Sequence[int], examined: Sequence[str]) -> list[FindingChange]:
        with run.read() as tx:
            return tx.rows(
                "stripe_finding_changes",
                FindingChange,
                command=self.command,
                firm_ids=list(firm_ids),
                examined=list(examined),
            )

    def _settle(self, run: JobRun, tenants: Tenants, examined: Sequence[str]) -> None:
        for tenant in tenants:
            with run.write(tenant) as tx, run.findings(tx) as ledger:
                tx.execute("see_stripe_findings", firm_ids=list(tenant.firm_ids))
                # Only what was examined can be resolved: a run of the look-back window says nothing of older invoices.
                settled = ledger.settle(
                    kinds=[kind.value for kind in KINDS],
                    firm_ids=tenant.firm_ids,
                    category=Category.BILLING_METADATA,
                    subjects=examined,
                )
            run.count_findings(settled)
            run.done("findings_opened", settled.opened)
            run.done("findings_resolved", settled.resolved)


def _stage(tx: Transaction, findings: Iterable[Finding]) -> None:
    tx.copy("copy_stripe_findings", map(_row, findings))


def _row(finding: Finding) -> tuple[Any, ...]:
    return (
        finding.kind,
        finding.subject,
        finding.firm_id,
        finding.severity.value,
        finding.proposed_action,
        Jsonb(dict(finding.details)),
    )


def _event_horizon(now: datetime, since: datetime) -> int:
    """Give the time of the oldest event to ask for; Stripe has none that are older than `EVENT_DAYS`."""
    return int(max(since, now - timedelta(days=EVENT_DAYS)).timestamp())
