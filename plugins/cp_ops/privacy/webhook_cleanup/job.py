"""cleanup_webhook_events: delete processed webhook events of the providers once they are old enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cp_ops.privacy.webhook_cleanup.events import delete_batch, read_backlogs
from cp_ops.privacy.webhook_cleanup.options import CleanupWebhookEventsOptions
from cp_ops.privacy.webhook_cleanup.plan import Backlog, ProcessedEvents, plan_cleanup, retention_cutoff
from cp_ops.privacy.webhook_cleanup.providers import PROVIDERS
from cp_ops.runtime.audit import Category
from cp_ops.runtime.batches import START
from cp_ops.runtime.errors import CpOpsError, LeaseLostError
from cp_ops.runtime.job import Job, JobRun

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cp_ops.runtime.database import Tenant, Tenants
    from cp_ops.runtime.plan import Action

__all__ = ["CleanupWebhookEvents"]  # operators name their job as text

BATCH = 5_000
"""Events per DELETE: the application waits for one of them at most some tens of milliseconds."""


class CleanupWebhookEvents(Job[CleanupWebhookEventsOptions]):
    """Delete old processed webhook events, provider by provider and firm by firm, in batches."""

    command = "cleanup_webhook_events"
    statements = "templates/privacy/webhook_cleanup"
    options = CleanupWebhookEventsOptions
    needs = tuple(events.table for events in PROVIDERS.values())

    def run(self, run: JobRun, options: CleanupWebhookEventsOptions) -> None:
        """Count, plan, delete; events of every firm, also of suspended and canceled ones."""
        cutoff = retention_cutoff(run.now, options.days or run.settings.webhook_retention_days)
        providers = [options.provider] if options.provider else list(PROVIDERS)
        present = [provider for provider in providers if run.session.has(PROVIDERS[provider].table.name)]
        missing = [provider for provider in providers if provider not in present]
        # Retention of these events is the platform's, not the firm's: a canceled firm's go, too.
        tenants = run.tenants(run.every_firm())
        plan = plan_cleanup(_backlogs(run, tenants, present, cutoff), cutoff=cutoff, missing=missing)
        applies = run.accept(plan)
        plan.cap(
            "[cp_ops] webhook_cleanup_max_deletes",
            run.settings.webhook_cleanup_max_deletes,
            advice="Check days and look at a dry run",
        )
        if applies:
            for action in plan.actions:
                events = action.payload(ProcessedEvents)
                _delete(run, tenants.of(events.firm_id), action, events, cutoff)
        run.audit(Category.PURGE, tenants.firm_ids)


def _backlogs(run: JobRun, tenants: Tenants, providers: Iterable[str], cutoff: datetime) -> list[Backlog]:
    backlogs: list[Backlog] = []
    for tenant in tenants:
        with run.read(tenant) as tx:
            for provider in providers:
                backlogs += read_backlogs(tx, provider, firm_ids=tenant.firm_ids, cutoff=cutoff)
    return backlogs


def _delete(run: JobRun, tenant: Tenant, action: Action, events: ProcessedEvents, cutoff: datetime) -> None:
    """Delete a firm's events of one provider; what fails is counted, and the next action goes on."""
    provider, firm_id = events.provider, events.firm_id
    # Batches go on behind the last one's position, never from the start: an event that somebody changed between choosing
    # and deleting is not deleted, and would be chosen for ever.
    after, deleted = START, 0
    try:
        while True:
            with run.write(tenant) as tx:
                batch = delete_batch(tx, provider, firm_id=firm_id, cutoff=cutoff, after=after, batch=BATCH)
            if batch is None:
                break
            after = batch.last
            deleted += batch.deleted
            run.done(f"{provider}_deleted", batch.deleted, firm_id)
            run.progress(f"{provider}, firm {firm_id}: {deleted} of {action.rows} deleted")
    except LeaseLostError:
        raise
    except CpOpsError as error:
        run.fail(action.target, error, rows=action.rows - deleted)
