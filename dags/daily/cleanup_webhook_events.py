"""Delete processed webhook events that are older than the retention.

### What it does

The job deletes old events of Stripe, Square, DocuSign and SMS, of every firm whatever its status, in batches of
5,000.

- An event that was not processed, or whose processing failed, is never deleted.
- An event younger than 30 days is never deleted. Providers deliver again for up to 30 days, and the event's key keeps
  a replay from being processed twice.

### When it runs

Every day at 04:00 in the time zone of setting `timezone`.

### Options

- `days` empty means the deployment's retention. That is setting `webhook_retention_days`, else the environment
  variable WEBHOOK_RETENTION_DAYS, else 180.
- Setting `webhook_cleanup_max_deletes` caps the events of one run. A larger plan stops before the first deletion.
- Start with `dry_run`. It shows how many events of which provider and firm would go.

### What it reports

The outcome counts the deleted events per provider, and the old events that are kept because they were not processed
or failed. A provider whose table this deployment does not have is skipped with that reason.

### Trigger it

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
