"""Compare invoices with Stripe and report every difference.

### What it does

The job compares in both directions and changes nothing, neither here nor at Stripe.

- Every invoice that refers to a Stripe invoice or to a payment intent is compared with Stripe.
- Every Stripe object whose metadata names an invoice of ours is compared with that invoice.

Stripe and its events are read in pages of 100.

### When it runs

Every day at 02:00 in the time zone of setting `timezone`. Pool `stripe` lets one task call Stripe at a time.

### Options

| `full` | What the run covers |
|---|---|
| off | The objects of the look-back window (setting `stripe_lookback_days`, 45). Everything that is still open. Everything with an open finding. Older objects that Stripe's events of the last 30 days say were paid, refunded, disputed, voided or written off, or whose refund failed. |
| on | Everything. Run it once a week. |

### What it reports

Each difference becomes a finding with both values, a severity and a proposed action. The finding is resolved once the
difference is gone.

| Kind | Meaning |
|---|---|
| `status_mismatch`, `amount_mismatch`, `currency_mismatch`, `paid_date_mismatch` | Both sides have the invoice and disagree. |
| `underpaid`, `overpaid` | The money at Stripe is less or more than what is recorded here. |
| `duplicate_payment` | The client paid more than once. A second Stripe invoice of the same invoice counts here once it is paid. |
| `missing_in_stripe` | An invoice refers to an object that Stripe does not know. |
| `missing_locally` | A Stripe object names an invoice of ours that does not exist, or that refers to nothing at Stripe. A second Stripe invoice of the same invoice counts here while it can be paid. |

The outcome proves that no invoice was left out, as local = matched + mismatched + missing + moving. Moving means that
the invoice changed while it was compared. The outcome also says how many objects had to be fetched one by one.

An outage of Stripe or a wrong key is an error of the run and never a finding. If Stripe does not know too many
objects, the run stops as well. Setting `stripe_max_missing_share` says how many.

### Before you start

- Connection `stripe_default`, with API version 2026-05-27.dahlia or later, which is what stripe-python pins.
- A restricted key needs read access to Invoices, Payment Intents, Charges, Disputes and Events.
- Pool `stripe`, from include/pools.json. Without the pool the task waits for ever.

### Trigger it

    airflow dags trigger reconcile_stripe --conf '{"full": true, "dry_run": true}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.finance.reconciliation.options import ReconcileStripeOptions
from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.finance import ReconcileStripeOperator

with ops_dag(
    "reconcile_stripe",
    schedule="0 2 * * *",
    options=ReconcileStripeOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.FINANCE],
    timeout=timedelta(hours=2),
):
    ReconcileStripeOperator(task_id="reconcile_stripe")
