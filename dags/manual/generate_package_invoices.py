"""Issue the invoices of package fees, one per engagement and billing period.

Looks at the current engagements with pricing mode package or mixed and a package fee, of every active or trial firm, and
invoices the billing period that holds the reference date: `reference_date`, else today where the firm is. The schedule
says which period: monthly, quarterly, annual (or yearly), one-time; any other is a skip with the reason
`unknown schedule`. Periods are those of the calendar, clipped to the engagement (to its actual end, where that is
earlier); a one-time fee is due once, for the whole engagement. An engagement that has not started or has ended is a skip.
`backfill` also invoices the earlier periods since each engagement's start that were never invoiced, of ended ones, too.

Amounts are the whole fee, or its share of days where [cp_ops] prorate is on and the engagement covers only part of the
period; the shares of a period add up to the fee. Currency is the firm's. The invoice is numbered
PKG-{engagement}-{first day}, sent, issued today (where the firm is) and due in 30 days, also when it is for an earlier
period; one issued ahead is due 30 days into its period. Autopay follows the client, and collects on the due date.

Nothing is invoiced twice: an engagement has one invoice per period start (a cancelled one keeps its place, a manual one is
a skip with that reason), and days that an invoice of this job covers are not billed again when dates or schedule of
the engagement were changed later. An engagement without a firm is its client's firm's; under row-level security such
engagements are invisible, which the outcome says. One whose firm is not its client's, or whose fee the currency cannot
express, is a failed row that stops no other.

More invoices than [cp_ops] package_invoices_max, or more money than package_invoices_max_total allows for a currency,
stop the run before the first. Start with a dry run: it lists what would be invoiced, and why the rest would not be.

    airflow dags trigger generate_package_invoices --conf '{"firm_id": 1, "dry_run": true}'
"""

from __future__ import annotations

from cp_ops.finance.packages.options import GeneratePackageInvoicesOptions
from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.finance import GeneratePackageInvoicesOperator

with ops_dag(
    "generate_package_invoices",
    schedule=None,
    options=GeneratePackageInvoicesOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.FINANCE],
):
    GeneratePackageInvoicesOperator(task_id="generate_package_invoices")
