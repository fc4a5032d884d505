"""Close expired one-time Solana wallets and reclaim the rent of their token accounts.

### What it does

The job covers the wallets of expired payments, in whatever state they were left.

1. Late money goes to the receiver, with a finding.
2. The token accounts are closed, and their rent goes to the fee payer.
3. The wallet is marked closed, once the chain shows that nothing is left in it.

Emptied wallets are read again. Money that came later is swept to the receiver and reported as a finding.

### When it runs

Every 15 minutes, as the third step of `solana_payments_maintenance`. This DAG runs the step alone, by hand.

### Options

- `scan_closed_days` chooses the emptied wallets whose payment ran out within that many days. If there are more than
  100 of them, those that were moved within the last 10 minutes are left out.
- Some emptied wallets of any age come in addition, at most 25 a run. Their token accounts are listed one by one, once
  for each wallet. A run with more than 25 new wallets leaves that to a quieter run.
- `scan_closed_days` 0 turns both off.
- `limit` counts expired wallets first, and emptied wallets after them.

### What it reports

docs/solana.md lists the kinds of finding and what to do about each.

### Before you start

Connection `solana_default` (docs/solana.md), and pool `solana_rpc` from include/pools.json.

### Trigger it

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
