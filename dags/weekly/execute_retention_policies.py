"""Archive, anonymise or delete what firms no longer want to keep, by their retention policies.

Covers every active policy of active and trial firms: audit_logs, documents, emails (also named email_artifacts),
communications, invoices, projects, time_entries, leads, prospects, support_tickets, webhooks, sessions.

- 0 days means keep for ever. A negative number of days or an unknown action fails that policy; an unknown data type,
  or an action that the application has no state for (archive exists for documents only), is passed over with the
  reason. No policy: nothing is deleted.
- Never: rows under legal hold, audit events younger than seven years, invoiced time entries, invoices that are not
  settled, projects that are not finished or have invoiced hours or expenses, unprocessed webhook events, webhook
  events younger than 30 days. What is kept is counted with the reason.
- Sessions belong to no firm: the longest retention of all active firms decides, and 0 days of one firm keeps all.
- Days are the firm's calendar days. Two policies over the same rows: the one that keeps longer wins.
- Children go with their rows, in order, in batches of 1,000 to 2,500; a foreign key that is not known stops its policy
  before the first deletion, and so does a missing index on a large table. Objects of deleted documents go after the
  rows, with all their versions.
- After `max_minutes` no new batch begins: the outcome says what is left and the date of the oldest row, and the next
  run begins with the policies that have waited longest.

Each real run leaves one row per policy in core_retention_executions, true at every moment; a dry run leaves none and
shows rows, first and last date per policy and firm.

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
