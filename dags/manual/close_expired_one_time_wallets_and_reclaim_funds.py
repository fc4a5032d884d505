"""Close expired one-time Solana wallets and reclaim the rent of their token accounts.

Looks at wallets of expired payments, in whatever state they were left: late funds go to the receiver with a finding, then
the token accounts are closed, their rent to the fee payer. A wallet is marked closed only when the chain shows that nothing
is left in it. Wallets that were emptied within the last `scan_closed_days` days are looked at again: funds that arrived
since are swept and reported. Of emptied wallets of any age, 25 a run have all their token accounts listed, each once.

The third step of `solana_payments_maintenance`, which runs it every 15 minutes; this DAG runs it alone.

    airflow dags trigger close_expired_one_time_wallets_and_reclaim_funds --conf '{"scan_closed_days": 30}'
"""

from __future__ import annotations

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.solana import CloseExpiredWalletsOperator
from cp_ops.solana.options import CloseWalletsOptions

with ops_dag(
    "close_expired_one_time_wallets_and_reclaim_funds",
    schedule=None,
    options=CloseWalletsOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.SOLANA],
):
    CloseExpiredWalletsOperator(task_id="close_expired_one_time_wallets_and_reclaim_funds")
