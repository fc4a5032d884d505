"""Announce Solana payments that were accepted or have expired.

The commands write an event with every payment that they accept or let expire, in the same transaction. This DAG hands
the events on: as Airflow asset events (`solana_payment_accepted`, `solana_payment_expired`), with the payment ids in the
event's extra, so that any DAG can be scheduled on them; and, where connection `solana_webhook` is defined, as one signed
HTTP request each. Both are delivered at least once; the event's id tells a repetition. What the webhook does not take,
whatever its answer, is tried again for two days, with growing pauses; then it is given up and the task fails. `redeliver`
takes up again what was given up.

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
