"""Let Solana payments that ran out expire, and empty and close their wallets.

Looks at payments that are still initiated after their expiration date. One that was paid in time and in full is accepted
and its wallet swept; one that was paid late or short expires, its funds go to the receiver and a finding tells how much
came when; an unpaid one expires, and its wallet's token accounts are closed, their rent to the fee payer. A payment
does not expire before the chain's newest block is later than its expiration. One whose money the application has sent on
already is judged by the chain's history.

The first step of `solana_payments_maintenance`, which runs it every 15 minutes; this DAG runs it alone.

    airflow dags trigger close_expired_solana_payments_with_wallets --conf '{"limit": 100, "dry_run": true}'
"""

from __future__ import annotations

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.solana import CloseExpiredPaymentsOperator
from cp_ops.solana.options import SolanaOptions

with ops_dag(
    "close_expired_solana_payments_with_wallets",
    schedule=None,
    options=SolanaOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.SOLANA],
):
    CloseExpiredPaymentsOperator(task_id="close_expired_solana_payments_with_wallets")
