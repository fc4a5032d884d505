"""Accept Solana payments that were paid on the chain but are still initiated.

### What it does

The job compares the SOL and the listed tokens in the wallet of each initiated payment with the payment's prices. The
history on the chain says who paid and when. A payment that was paid in full by its expiration is accepted, once it
has reached the connection's `payment_acceptance_commitment`.

Accepting writes the payment's status, the signature of the transaction that completed the price, the paid token, and
an event for `cp_ops_announce_solana_payments`. Nothing is moved here and nothing expires. The funds are sent on by
`send_solana_payments_from_one_time_wallets`.

### When it runs

Every hour, at minute 0. Pool `solana_rpc` lets one task call the node at a time.

### Options

`limit` chooses the payments that run out first. `sleep` waits between requests to the node, beside the connection's
rate limits.

### Before you start

Connection `solana_default` (docs/solana.md), and pool `solana_rpc` from include/pools.json.

### Trigger it

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
