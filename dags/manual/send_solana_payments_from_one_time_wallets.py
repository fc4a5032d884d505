"""Send what is in one-time Solana wallets to the receiver.

Looks at wallets that are processing_payment, processing_funds or failed_to_send_funds, and at wallets of accepted
payments that were left as created. Everything in them, SOL and every listed token, goes to the receiver of connection
`solana_default`, several wallets in a transaction; token accounts are closed, their rent to the fee payer. A wallet
that is empty because an earlier transfer landed is marked sent with that transfer; one that is empty without any is
reported. What cannot be moved (frozen, unlisted, an unusable key) is a finding with the reason.

The second step of `solana_payments_maintenance`, which runs it every 15 minutes; this DAG runs it alone.

    airflow dags trigger send_solana_payments_from_one_time_wallets --conf '{"sleep": 0.2, "dry_run": true}'
"""

from __future__ import annotations

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.solana import SendFundsOperator
from cp_ops.solana.options import SolanaOptions

with ops_dag(
    "send_solana_payments_from_one_time_wallets",
    schedule=None,
    options=SolanaOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.SOLANA],
):
    SendFundsOperator(task_id="send_solana_payments_from_one_time_wallets")
