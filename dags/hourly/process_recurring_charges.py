"""Charge due invoices to the payment methods that clients have stored for it.

First task: the package invoices of the current billing cycle are issued where they are missing. Second task: what
earlier runs left open is found out at Stripe, then the balance of every due invoice is charged, off session. Due means:
autopay on for invoice and client, status sent, partial, overdue or failed with retries left, a balance, the time of the
next charge reached (the due date where none is set), no open dispute, client active.

No client is charged twice: every attempt is written down before Stripe is called, under a key that is the same whoever
asks again, and the payment of a failed attempt is canceled at Stripe before the next one is made; if the client has paid
it meanwhile, that is booked instead. A charge without an answer is `unknown`; the next run asks with the same key within
23 hours while invoice, client and firm still allow the charge, else it looks the payment up. An invoice that Stripe
has, too, is passed over while less than its balance remains to be paid there, or a payment of it is under way there.

A decline for good switches autopay off and mails the client; another is tried again after 3, 7 and 14 days, then the
invoice is overdue; a payment that the bank wants confirmed waits for the client, who gets a link. What is not confirmed
within 14 days, or is canceled by hand at Stripe, is not charged again until somebody sets the invoice's
autopay_next_charge_at. All of it stops when the invoice is paid by other means.

A dry run lists who would be charged what and the totals per currency; give its plan's hash as `expected_plan` to charge
exactly that. What is under way is settled in any case; then `max_charges` and `max_total` ([cp_ops] charges_max,
charges_max_total), and three times the median of the last runs, stop a run before its first charge. A `max_total` must
name every currency that is due. The median is not asked where both caps are given, or an `expected_plan`. When Stripe
does not know the payment methods, as with a key of another account, nobody is charged and nobody's autopay touched.

Connection stripe_default; a restricted key needs write access to Payment Intents and Invoices, read access to Charges,
Customers and Payment Methods. Pool stripe (include/pools.json).

    airflow dags trigger process_recurring_charges --conf '{"firm_id": 1, "max_total": "USD=50000", "dry_run": true}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.finance.charges.options import ProcessRecurringChargesOptions
from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.finance import CollectDueInvoicesOperator, IssueDueInvoicesOperator

with ops_dag(
    "process_recurring_charges",
    schedule="0 * * * *",
    options=ProcessRecurringChargesOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.FINANCE],
    timeout=timedelta(minutes=50),
):
    issue = IssueDueInvoicesOperator(task_id="issue_invoices")
    collect = CollectDueInvoicesOperator(
        task_id="collect", issued_by="issue_invoices", trigger_rule="none_failed"
    )
    issue >> collect
