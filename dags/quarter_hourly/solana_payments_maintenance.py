"""Keep one-time Solana wallets healthy: expire payments, send funds, reclaim rent.

The three commands in their documented order, each decided from the chain and the rows together:

1. `close_expired_solana_payments_with_wallets`: a payment that ran out unpaid expires, its wallet's token accounts are
   closed, their rent goes to the fee payer. One that was paid in time and in full after all is accepted instead. Money
   that came late or short goes to the receiver, with a finding that says how much, so that a person can refund it.
2. `send_solana_payments_from_one_time_wallets`: everything in wallets under way, and in wallets of accepted payments that
   were left as created, SOL and every listed token, goes to the receiver; accounts are closed.
3. `close_expired_one_time_wallets_and_reclaim_funds`: wallets of expired payments are closed, in whatever state they were
   left. Wallets that were emptied within the last `scan_closed_days` days are looked at again, for funds that arrived since.

A later step runs even if rows of an earlier one failed, not if that one could not run. A transaction is written down
before it is sent; what a crash or a lost answer leaves open, the next run settles from the chain. A run that would sweep
more than [cp_ops] solana_max_sweep_lamports or solana_max_sweep_tokens stops before the first transfer. Connection
`solana_default` holds the node, the receiver and the keys: docs/solana.md.

    airflow dags trigger solana_payments_maintenance --conf '{"scan_closed_days": 7, "dry_run": true}'
"""

from __future__ import annotations

from airflow.sdk import TriggerRule

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.solana import (
    CloseExpiredPaymentsOperator,
    CloseExpiredWalletsOperator,
    SendFundsOperator,
)
from cp_ops.solana.options import CloseWalletsOptions

with ops_dag(
    "solana_payments_maintenance",
    schedule="*/15 * * * *",
    options=CloseWalletsOptions,
    doc_md=__doc__,
    tags=[Tag.SYSTEM, Tag.SOLANA],
):
    expire = CloseExpiredPaymentsOperator(
        task_id="close_expired_solana_payments_with_wallets", shared_options=CloseWalletsOptions
    )
    send = SendFundsOperator(
        task_id="send_solana_payments_from_one_time_wallets",
        shared_options=CloseWalletsOptions,
        trigger_rule=TriggerRule.ALL_DONE,
    )
    reclaim = CloseExpiredWalletsOperator(
        task_id="close_expired_one_time_wallets_and_reclaim_funds", trigger_rule=TriggerRule.ALL_DONE
    )
    expire >> send >> reclaim
