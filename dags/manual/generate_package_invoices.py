"""Issue the invoices of package fees, one per engagement and billing period.

### What it does

The job covers the current engagements of every active or trial firm that have pricing mode package or mixed and a
package fee. It invoices the billing period that holds the reference date.

- **Period.** The engagement's schedule says which: monthly, quarterly, annual (or yearly), one-time. Periods are
  those of the calendar, clipped to the engagement. An actual end that is earlier than the planned one counts. A
  one-time fee is due once, for the whole engagement.
- **Amount.** It is the whole fee. If setting `prorate` is on and the engagement covers only part of the period, it is
  the share of days. The shares of a period add up to the fee. The currency is the firm's.
- **Invoice.** Its number is PKG-{engagement}-{first day} and its status is sent. It is issued today, where the firm
  is, and due in 30 days, also for an earlier period. An invoice that is issued ahead is due 30 days into its period.
- **Autopay** follows the client, and collects on the due date.

Nothing is invoiced twice:

- An engagement has one invoice per period start. A cancelled invoice keeps its place. A manual invoice is a skip with
  that reason.
- Days that an invoice of this job covers are not billed again, when dates or schedule of the engagement were changed
  later.

### When it runs

By hand. `process_recurring_charges` also issues the invoices of the current period, every hour.

### Options

| Option | Which periods |
|---|---|
| neither | the one that holds today, where the firm is |
| `reference_date` | the one that holds this day, at most 31 days ahead |
| `backfill` | also the earlier periods since each engagement's start that were never invoiced, of ended engagements, too |

Settings `package_invoices_max` and `package_invoices_max_total` cap one run. A larger plan stops before the first
invoice. Start with `dry_run`. It lists what would be invoiced, and why the rest would not be.

### What it reports

- A skip with the reason: an engagement that has not started or has ended, and a schedule that is not known
  (`unknown schedule`).
- A failed row that stops no other: an engagement whose firm is not its client's, and a fee that the currency cannot
  express.
- An engagement without a firm belongs to the firm of its client. Under row-level security such engagements are
  invisible, and the outcome says so.

### Trigger it

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
