"""Accept Solana payments that were paid on the chain but are still initiated.

For each initiated payment, up to `limit`, the wallet's SOL and listed tokens are compared with the payment's prices, and
the chain's history says who paid and when. A payment that was paid in full by its expiration, at the connection's
payment_acceptance_commitment, is accepted: its status, the signature of the paying transaction, the paid token, and an
event for whoever delivers. Its funds are sent on by `send_solana_payments_from_one_time_wallets`. Nothing is moved here
and nothing expires.

    airflow dags trigger recheck_initiated_solana_payments --conf '{"limit": 500, "sleep": 0.1}'
"""

from __future__ import annotations

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.solana import RecheckPaymentsOperator
from cp_ops.solana.options import RecheckOptions

with ops_dag(
    "recheck_initiated_solana_payments",
    schedule="0 * * * *",
    options=RecheckOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.SOLANA],
):
    RecheckPaymentsOperator(task_id="recheck_initiated_solana_payments")
