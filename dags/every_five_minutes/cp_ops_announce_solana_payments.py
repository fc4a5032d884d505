"""Announce Solana payments that were accepted or have expired.

### What it does

The Solana commands write an event for each payment that they accept or let expire, in the same transaction. This DAG
hands the events on in two ways:

- as Airflow asset events `solana_payment_accepted` and `solana_payment_expired`. Their extra holds the payment ids,
  so any DAG can be scheduled on them.
- as one signed HTTP request per event, where connection `solana_webhook` is defined.

Both are delivered at least once. The event's id tells a repetition.

A request that the webhook does not accept, whatever its answer, is tried again after 1, 5 and 15 minutes, then after
1, 4, 12 and 24 hours. After these eight attempts, within about 41 hours, the delivery is given up. An event older
than 7 days is not sent to a webhook for the first time.

### When it runs

Every five minutes.

### Options

`redeliver` tries deliveries again that were given up, of events of the last 30 days. `max_events` limits the
announcements and the deliveries of one run, each on its own.

### What it reports

A delivery that is given up is a failed row, and the task fails. After three refused deliveries in a row the run
leaves the others for the next run.

### Trigger it

    airflow dags trigger cp_ops_announce_solana_payments --conf '{"redeliver": true}'
"""

from __future__ import annotations

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.solana import AnnouncePaymentsOperator
from cp_ops.solana.announcing.options import AnnouncePaymentsOptions

with ops_dag(
    "cp_ops_announce_solana_payments",
    schedule="*/5 * * * *",
    options=AnnouncePaymentsOptions,
    doc_md=__doc__,
    tags=[Tag.SYSTEM, Tag.SOLANA],
):
    AnnouncePaymentsOperator(task_id="cp_ops_announce_solana_payments")
