"""Let Solana payments that ran out expire, and empty and close their wallets.

### What it does

The job covers payments that are still initiated after their expiration date.

| The payment was | What follows |
|---|---|
| paid in time and in full | It is accepted, and its wallet is swept to the receiver. |
| paid late or too little | It expires. Its money goes to the receiver, and a finding says how much came when. |
| not paid | It expires. Its wallet's token accounts are closed, and their rent goes to the fee payer. |

A payment does not expire before the newest block of the chain is later than its expiration. A payment whose money the
application has sent on already is judged by the history on the chain.

### When it runs

Every 15 minutes, as the first step of `solana_payments_maintenance`. This DAG runs the step alone, by hand.

### Options

`limit` chooses the payments that ran out first. Settings `solana_max_sweep_lamports` and `solana_max_sweep_tokens`
stop a larger plan before the first transfer.

### What it reports

docs/solana.md lists the kinds of finding and what to do about each.

### Before you start

Connection `solana_default` (docs/solana.md), and pool `solana_rpc` from include/pools.json.

### Trigger it

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
