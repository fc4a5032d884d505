"""Compare invoices with Stripe and report every difference.

Every invoice that refers to a Stripe invoice or to a payment intent is compared with Stripe, and Stripe's objects whose
metadata names an invoice of ours with the invoices. A second Stripe invoice of the same invoice is missing_locally while
it can be paid and a duplicate_payment once it is. Nothing is changed, here or at Stripe: a difference becomes a finding
with both values, a severity and a proposed action, and is resolved once it is gone.

Kinds: status_mismatch, amount_mismatch, currency_mismatch, paid_date_mismatch, underpaid, overpaid, duplicate_payment,
missing_in_stripe, missing_locally.

A run covers the objects of the look-back window ([cp_ops] stripe_lookback_days, 45), everything still open, older
objects that Stripe's events of the last 30 days say were paid, refunded, disputed, voided or written off, or whose refund
failed, and what has an open finding; with `full` everything, for once a week. Stripe is read by pages of 100, its events,
too; the outcome says how many objects had to be fetched one by one, and proves that none was left out: local = matched +
mismatched + missing + moving (changed while it was compared).

An outage of Stripe or a wrong key is an error of the run and never a finding.

Connection stripe_default, with API version 2026-05-27.dahlia or later (what stripe-python pins is); a restricted key needs
read access to Invoices, Payment Intents, Charges, Disputes and Events.
Pool stripe (include/pools.json).

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
