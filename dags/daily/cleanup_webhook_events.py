"""Delete processed webhook events that are older than the retention.

Covers the events of Stripe, Square, DocuSign and SMS, of every firm, in batches of 5,000.
An event that was not processed, or whose processing failed, is never deleted; the outcome says how many are kept for
that reason. A provider whose table this deployment does not have is skipped with that reason.

Events younger than 30 days are never deleted: providers deliver again for up to 30 days, and the event's key is what
keeps a replay from being processed twice. `days` empty means the deployment's WEBHOOK_RETENTION_DAYS (180).
Start with a dry run: it shows how many events of which provider and firm would go.

    airflow dags trigger cleanup_webhook_events --conf '{"days": 90, "dry_run": true}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.privacy import CleanupWebhookEventsOperator
from cp_ops.privacy.webhook_cleanup.options import CleanupWebhookEventsOptions

with ops_dag(
    "cleanup_webhook_events",
    schedule="0 4 * * *",
    options=CleanupWebhookEventsOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.PRIVACY],
    timeout=timedelta(hours=1),
):
    CleanupWebhookEventsOperator(task_id="cleanup_webhook_events")
