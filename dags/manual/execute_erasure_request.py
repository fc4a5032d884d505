"""Execute an approved erasure request: preview, a person's approval, erasure, proof.

### What it does

Three tasks run one after the other. Nothing is changed before the third.

1. `preview` shows, per table and column, what is erased, pseudonymised or kept with the legal reason. It shows counts
   and never values.
2. `approve` waits up to three days for a person to approve exactly that plan, under *Required Actions*. Without an
   answer the plan is rejected.
3. `execute` erases, searches for what is left, and stores the result on the request.

The request must be in status approved, and somebody other than the requester must have approved it. It is about a
contact, an account, a document or an engagement.

What stops the run at the preview, before anything is changed:

| Blocker | For which requests |
|---|---|
| A document is under legal hold | all |
| An address or telephone number of the person would be left in a place that the erasure does not reach, such as a note about somebody else | all |
| Invoices are open | account, engagement |
| Engagements or projects are active | account, engagement |
| The retainer balance is not zero | account |

Close, release or remove each blocker in the application. Then trigger a new preview.

What happens to the data:

| Data | What happens |
|---|---|
| Ledger amounts, dates, structure of the audit trail | stays |
| The client of an erased contact | stays |
| Stored files of the covered documents | deleted, with all versions |
| Provider events, audit trail, the firm's stored mails | lose the values that hold an address or number of the person |
| Outbox mail to the person | is never sent, and loses address and text |
| Outbox mail to somebody else | is sent. It loses its text only if it was sent already and names the person's address |

Afterwards every text and JSON column of the firm is searched for the person's addresses and numbers, except the
columns that the erasure keeps. Anything left is an error that says where, and the request stays open.

### When it runs

Only by hand. Up to 16 requests can be under way at once, one run for each.

### Options

| `dry_run` | `confirm` | What happens |
|---|---|---|
| on | either | The preview only. Blockers are shown, and do not fail the task. |
| off | on | The preview, a person's approval, then the erasure. |
| off | off | The preview, then the erasure. Nobody is asked. |

### What it reports

- **On the request**: the approved plan, the rows erased per table by all runs together, the columns kept, and how far
  the search went. The original values are stored nowhere.
- **Finding `identifier_remains`** (critical): an address or a number is left. Remove it in the application, then
  trigger the DAG again.
- **Finding `name_is_mentioned`** (warning): the person's name is somewhere, or a namesake's. It does not fail the
  run.

When the run stops half-way:

| What happened | What to do |
|---|---|
| The data changed between preview and execution. Nothing was done. | Trigger the DAG again, for a new preview and a new approval. |
| The run was stopped or failed during the erasure | Airflow's own retry goes on under the approved plan. Else trigger the DAG again. The preview then shows what is left, and a person approves that. With `confirm` off the earlier plan is completed. |
| New rows have come up since the approval of a run that was stopped. | Trigger the DAG again, for a new preview and a new approval. |
| A document came under legal hold during the run. The run stops before the next document. | Wait until the hold is released, then trigger the DAG again. |
| The request is completed already | Nothing. A second run changes nothing and says so. |

### Before you start

- Connection `cp_s3`, if covered documents have stored files. Its role needs `s3:ListBucketVersions`,
  `s3:DeleteObject` and `s3:DeleteObjectVersion`. Connection `cp_kms` too, where setting `kms_backend` is local.
- Setting `erasure_journal`, so that `replay_erasures` can repeat the erasure after a backup was restored. A journal
  file that cannot be written stops the erasure.

### Trigger it

    airflow dags trigger execute_erasure_request --conf '{"request_id": 789, "dry_run": true}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.erasure import (
    APPROVE,
    PREVIEW,
    ApproveErasureOperator,
    ExecuteErasureOperator,
    PreviewErasureOperator,
)
from cp_ops.privacy.erasure.options import ExecuteErasureRequestOptions

APPROVAL_TIMEOUT = timedelta(days=3)

with ops_dag(
    "execute_erasure_request",
    schedule=None,
    options=ExecuteErasureRequestOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.PRIVACY],
    timeout=timedelta(hours=2),
    waits=APPROVAL_TIMEOUT,
    max_active_runs=16,
    allowed_run_types=["manual"],
):
    (
        PreviewErasureOperator(task_id=PREVIEW)
        >> ApproveErasureOperator(task_id=APPROVE, response_timeout=APPROVAL_TIMEOUT)
        >> ExecuteErasureOperator(task_id="execute")
    )
