"""Keep one-time Solana wallets healthy: expire payments, send funds, reclaim rent.

### What it does

Three commands run in their documented order. Each decides from the chain and the database rows together.

1. `close_expired_solana_payments_with_wallets` covers payments that have run out.

   | The payment was | What follows |
   |---|---|
   | paid in full and in time | It is accepted, and its wallet is swept to the receiver. |
   | paid late or too little | It expires. The money goes to the receiver, and a finding says how much, so that a person can refund it. |
   | not paid | It expires. Its wallet's token accounts are closed, and their rent goes to the fee payer. |

2. `send_solana_payments_from_one_time_wallets` sends everything in wallets under way to the receiver, SOL and every
   listed token. It closes their token accounts. Wallets of accepted payments that were left as created are swept,
   too.
3. `close_expired_one_time_wallets_and_reclaim_funds` empties and closes the wallets of expired payments, in whatever
   state they were left. It also reads emptied wallets again, for money that came later.

No lamport is lost or moved twice. Every transaction is committed to the database before it is sent. What a crash or a
lost answer leaves open, the next run decides by the chain.

### When it runs

Every 15 minutes. Pool `solana_rpc` lets one task call the node at a time. A later step runs even if rows of an
earlier step failed. It does not run if the earlier step could not run, or stopped half-way.

### Options

- `limit` and `sleep` hold for each step on its own.
- `scan_closed_days` concerns the third step only. It counts from the expiration of the payment, not from the emptying
  of the wallet.
- Caps: a step whose plan sweeps more than setting `solana_max_sweep_lamports` or `solana_max_sweep_tokens` stops
  before the first transfer. A smaller `limit` makes a smaller plan.
- `dry_run` shows the plan of each step. The second and third step then do not see what the first would have changed.

### What it reports

Each task has its own outcome. Money that came late, short or after the sweep is a finding that stays open until a
person closes it. What cannot be moved is a finding with the reason, resolved by the run that finds the wallet
otherwise. The page docs/solana.md lists the kinds of finding and what to do about each.

### Before you start

- Connection `solana_default`. It holds the node, the receiver and the keys, and docs/solana.md explains its fields.
- Pool `solana_rpc`, from include/pools.json. Without the pool the tasks wait for ever.
- SOL in the account of the fee payer. A receiver that does not exist on the chain yet may have to be funded once. The
  error of the run then names the amount.

### Trigger it

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
