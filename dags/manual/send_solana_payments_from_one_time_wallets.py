"""Send the money in one-time Solana wallets to the receiver.

### What it does

The job covers two kinds of wallet:

- wallets in state `received_funds`, `processing_payment`, `processing_funds` or `failed_to_send_funds`
- wallets of accepted payments that were left as `created`

Everything in them goes to the receiver of connection `solana_default`, SOL and every listed token, several wallets in
a transaction. The token accounts are closed, and their rent goes to the fee payer.

A wallet that an earlier transfer has emptied is marked sent, with that transfer.

### When it runs

Every 15 minutes, as the second step of `solana_payments_maintenance`. This DAG runs the step alone, by hand.

### Options

`limit` chooses the wallets whose payments ran out first. Settings `solana_max_sweep_lamports` and
`solana_max_sweep_tokens` stop a larger plan before the first transfer.

### What it reports

A wallet that is empty without any transfer is a finding. What cannot be moved is a finding with the reason, for
example a frozen account, an unlisted token or an unusable key. docs/solana.md lists the kinds and what to do about
each.

### Before you start

Connection `solana_default` (docs/solana.md), and pool `solana_rpc` from include/pools.json.

### Trigger it

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
