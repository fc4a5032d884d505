"""Issue the package invoices that are due, then charge due invoices to the stored payment methods of their clients.

### What it does

Two tasks run one after the other.

1. `issue_invoices` issues the missing package invoices of the current billing period, as `generate_package_invoices`
   does.
2. `collect` first asks Stripe what became of the charges that earlier runs left open. It then charges the balance of
   every due invoice at Stripe, without the client being present (off session).

A package invoice that cannot be issued does not stop `collect`. The task `collect` then fails at its end and names
that invoice. If `issue_invoices` itself fails, for example at a cap, `collect` does not run.

An invoice is due when all of this is true:

- The firm is active or on trial, and the client is active.
- Autopay is on for the invoice and for the client, and a payment method is stored that was not declined for good.
- The status is sent, partial, overdue, or failed with retries left. A balance remains.
- The time in `autopay_next_charge_at` has come. Where that field is empty, the due date has come.
- No dispute is open. Dunning is not paused, if this would be a retry.

What follows from Stripe's answer:

| Stripe's answer | What follows |
|---|---|
| charged | The payment is recorded and allocated. The invoice becomes paid or partial. |
| processing | Nothing new is sent. The next run asks again. |
| the bank wants a confirmation | The client gets a mail with a link and has 14 days. After that the payment is canceled, the invoice is overdue and the client gets another mail. |
| declined for good, or the payment method is gone | Autopay of the invoice goes off and the client gets a mail. Autopay of the client goes off too, unless the client has another payment method by now. |
| declined for now, or the request itself refused | The charge is tried again after 3, 7 and 14 days. After the last failure the invoice is overdue and the client gets a mail. A refused request is also a failed row. |
| canceled by hand at Stripe | The invoice is overdue. Nobody gets a mail. |
| no answer | The attempt is `unknown`, and the next run asks again as described below. |

After an expired confirmation or a cancellation by hand, the invoice is not charged again until somebody sets its
`autopay_next_charge_at`. Payment by other means ends all further attempts.

No client is charged twice:

- Every attempt is committed to the database before Stripe is called. Its idempotency key never changes.
- An attempt without an answer is sent again with the same key. This happens only within 23 hours, and only while
  invoice, client and firm still allow the charge. Otherwise the attempt is looked up at Stripe.
- Before a new attempt, the payment of the last failed attempt is canceled at Stripe. If the client has paid it in the
  meantime, that payment is booked instead.

An invoice that also exists at Stripe is skipped in these cases:

- Its Stripe invoice is not open, or Stripe collects it by itself, or it is in another currency.
- Less than the balance of our invoice remains to be paid there.
- A payment of it is under way there, or has arrived there and is not recorded here.

### When it runs

Every hour, at minute 0. Pool `stripe` lets one task call Stripe at a time.

### Options

| What you want | What to give |
|---|---|
| see who would be charged, and the total per currency | `dry_run` |
| charge exactly what a dry run showed, or nothing if the data changed | `expected_plan`, with the plan's hash of that dry run |
| limit this run | `max_charges`, `max_total`, or both |

Two kinds of limit stop a run before its first new charge. Open charges of earlier runs are followed up in any case.

- **Caps.** `max_charges` replaces setting `charges_max`. `max_total` replaces setting `charges_max_total`, and must
  name every currency that is due.
- **Unusual runs.** The plan is compared with the last 30 runs that charged anything, once there are five of them.
  More than three times their median stops the run, be it the number of charges or the sum of a currency. Up to
  setting `charges_never_unusual` (25) the number is never unusual. A sum is then unusual only if the average charge
  is, too.

`max_charges` turns the comparison of the number off, and `max_total` that of the sums. `expected_plan` turns off
both.

### What it reports

- The outcome has the total per currency (`total_USD`, for example) and counts every invoice by what became of it.
- The log says who would be charged what. It names up to 100 invoices that are not charged, each with the reason.
- A charge that succeeds, is declined or needs a confirmation leaves an audit event. A declined charge also leaves a
  row in the application's payment failures.
- A charge that Stripe would not attach to its Stripe invoice is a failed row. Void that Stripe invoice by hand.
- After three calls in a row without an answer the run stops, and the rest is not charged.
- When Stripe does not know the payment methods, the run stops. This happens with a key of another account. Nobody is
  charged and nobody's autopay changes. Setting `stripe_max_missing_share` says how many may be unknown.

### Before you start

- Connection `stripe_default`. A restricted key needs write access to Payment Intents and Invoices, and read access to
  Charges, Customers and Payment Methods.
- Pool `stripe`, from include/pools.json. Without the pool the tasks wait for ever.
- Settings `default_from_email` and `frontend_url`, for the mails to clients.

### Trigger it

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
