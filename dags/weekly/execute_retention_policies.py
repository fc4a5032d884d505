"""Archive, anonymise or delete old rows, as the retention policies of the firms say.

### What it does

Every active policy of active and trial firms is carried out. A policy says which data, after how many days, and
whether the rows are archived, anonymised or deleted. Days are the firm's calendar days.

| Data type of the policy | What it covers |
|---|---|
| `emails`, `email_artifacts` | ingested e-mails |
| `communications` | messages, client messages, SMS |
| `documents` | documents with their versions. The only data type that can be archived |
| `webhooks` | webhook events of all providers, deletion only |
| `sessions` | expired log-in sessions, deletion only |
| `audit_logs`, `invoices`, `projects`, `time_entries`, `leads`, `prospects`, `support_tickets` | the rows of that name |

Never touched, whatever a policy says:

- rows under legal hold, and rows with a document under legal hold
- audit events younger than seven years
- invoices that are not paid in full, cancelled or refunded
- invoiced time entries
- projects that are not completed or cancelled, and the deletion of projects with invoiced hours or expenses
- documents that somebody has locked, or whose own retention period is not over
- webhook events that were not processed or failed, and those younger than 30 days

How policies are read:

| Policy | What follows |
|---|---|
| 0 days, or more than 36,500 | The rows are kept for ever. |
| negative days, or an unknown action | The policy fails. Correct it. |
| an unknown data type, or an action that the application has no state for | The policy is skipped with the reason. |
| two policies of a firm over the same rows | The policy that keeps longer wins. |
| sessions | They belong to no firm, so the longest retention of all active and trial firms decides. A firm that keeps them for ever, or whose policy is wrong, keeps all of them. |
| none | Nothing is deleted. |

How rows are handled:

- A policy with `only_if_inactive` keeps rows that are still active.
- Rows go in batches of 1,000 to 2,500. Rows that belong to a deleted row go before it, or are detached and stay.
- A foreign key that the package does not know fails the policy before its first deletion.
- A missing index on a table of more than 50,000 rows would make batches slow. The policy is skipped, and the reason
  names the index.
- Stored files of deleted documents go after the rows, with all their versions.

### When it runs

Every Sunday at 01:00 in the time zone of setting `timezone`.

### Options

- `firm_id` and `data_type` narrow the policies down. The sessions policy is decided over all firms in any case.
- After `max_minutes` no new batch begins. The next run begins with the policies that have waited longest.
- Setting `retention_max_changes` caps the rows of one run, over all policies. A larger plan stops before the first
  change.

### What it reports

- Each real run leaves one row per policy in `core_retention_executions`. The row is true at every moment, also after
  a kill.
- A dry run leaves no such row. It shows rows, first and last date per policy and firm.
- Rows that are old enough and kept are counted as skipped, each with the reason.
- When the time is up, the outcome counts the rows that are left, and `oldest_left` has the date of the oldest.

### Before you start

Connection `cp_s3`, and `cp_kms` where setting `kms_backend` is local. They are used only for the stored files of
deleted documents.

### Trigger it

    airflow dags trigger execute_retention_policies --conf '{"firm_id": 123, "data_type": "documents", "dry_run": true}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.privacy import ExecuteRetentionPoliciesOperator
from cp_ops.privacy.retention.options import ExecuteRetentionPoliciesOptions

with ops_dag(
    "execute_retention_policies",
    schedule="0 1 * * 0",
    options=ExecuteRetentionPoliciesOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.PRIVACY],
    timeout=timedelta(hours=4),
):
    ExecuteRetentionPoliciesOperator(task_id="execute_retention_policies")
