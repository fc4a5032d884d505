"""cleanup_webhook_events: delete processed webhook events of the providers once they are old enough."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, cast

from cp_ops.privacy.webhook_cleanup.options import CleanupWebhookEventsOptions
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import CpOpsError, LeaseLostError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.plan import Action, Plan, Skip
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cp_ops.runtime.database import Tenant


TABLES: dict[str, Table] = {
    provider: Table(name, ("id", "firm_id", *columns), ("SELECT", "DELETE"), optional=True)
    for provider, name, columns in (
        ("stripe", "finance_stripe_webhook_events", ("processed_at", "processed_successfully")),
        ("square", "finance_square_webhook_events", ("processed_at", "processed_successfully")),
        ("docusign", "esignature_webhook_events", ("received_at", "processed", "error_message")),
        ("sms", "sms_webhook_events", ("processed_at", "processed_successfully")),
    )
}
BATCH = 5_000
"""Events per DELETE: the application waits for one of them at most some tens of milliseconds."""


@dataclass(frozen=True)
class Backlog:
    """A firm's events of one provider that are older than the cutoff."""

    provider: str
    firm_id: int
    processed: int
    unprocessed: int
    oldest: datetime | None


def plan_cleanup(backlogs: Iterable[Backlog], *, cutoff: datetime, missing: Iterable[str] = ()) -> Plan:
    """Plan one deletion per provider and firm; unprocessed and failed events are kept, whatever their age. Pure.

    :param cutoff: events before this instant are old.
    :param missing: providers whose table this deployment does not have.
    """
    return Plan.of(_items(backlogs, cutoff, missing))


def _items(backlogs: Iterable[Backlog], cutoff: datetime, missing: Iterable[str]) -> Iterator[Action | Skip]:
    for provider in missing:
        yield Skip(TABLES[provider].name, f"{provider}: this deployment has no table {TABLES[provider].name}")
    for backlog in backlogs:
        table = TABLES[backlog.provider].name
        if backlog.unprocessed:
            yield Skip(
                table, f"{backlog.provider}: not processed or failed", backlog.firm_id, backlog.unprocessed
            )
        if backlog.processed:
            yield Action(
                "delete",
                f"{table}:firm:{backlog.firm_id}",
                f"processed, older than {cutoff:%Y-%m-%d}, the oldest of {backlog.oldest:%Y-%m-%d}",
                backlog.firm_id,
                backlog.processed,
                {"provider": backlog.provider, "before": cutoff.isoformat()},
            )


def retention_cutoff(now: datetime, days: int) -> datetime:
    """Give the midnight (UTC) `days` days ago: the same all day, so that a preview's plan is the run's plan."""
    return datetime.combine(now.astimezone(UTC).date() - timedelta(days=days), time(), UTC)


class CleanupWebhookEvents(Job[CleanupWebhookEventsOptions]):
    """Delete old processed webhook events, provider by provider and firm by firm, in batches."""

    command = "cleanup_webhook_events"
    statements = "privacy/webhook_cleanup"
    options = CleanupWebhookEventsOptions
    needs = tuple(TABLES.values())

    def run(self, run: JobRun, options: CleanupWebhookEventsOptions) -> None:
        """Count, plan, delete; events of every firm, also of suspended and canceled ones."""
        cutoff = retention_cutoff(run.now, options.days or run.settings.webhook_retention_days)
        providers = [options.provider] if options.provider else list(TABLES)
        present = [provider for provider in providers if run.session.has(TABLES[provider].name)]
        with run.read() as tx:
            firm_ids = [row["id"] for row in tx.rows("firms_with_webhook_events")]
        backlogs: list[Backlog] = []
        for tenant in run.tenants(firm_ids):
            with run.read(tenant) as tx:
                for provider in present:
                    backlogs += tx.rows(
                        f"{provider}_backlog", Backlog, firm_ids=list(tenant.firm_ids), cutoff=cutoff
                    )
        missing = [provider for provider in providers if provider not in present]
        plan = plan_cleanup(backlogs, cutoff=cutoff, missing=missing)
        applies = run.accept(plan)
        plan.cap(
            "[cp_ops] webhook_cleanup_max_deletes",
            run.settings.webhook_cleanup_max_deletes,
            advice="Check days and look at a dry run",
        )
        if applies:
            tenants = {firm_id: tenant for tenant in run.tenants(firm_ids) for firm_id in tenant.firm_ids}
            for action in plan.actions:
                self._delete(run, tenants[cast("int", action.firm_id)], action, cutoff)
        run.audit(Category.PURGE, firm_ids)

    def _delete(self, run: JobRun, tenant: Tenant, action: Action, cutoff: datetime) -> None:
        provider, firm_id = action.data["provider"], cast("int", action.firm_id)
        after: tuple[datetime, int] = (datetime.min.replace(tzinfo=UTC), 0)
        deleted = 0
        try:
            while True:
                with run.write(tenant) as tx:
                    batch = tx.one(
                        f"delete_{provider}_events",
                        firm_id=firm_id,
                        cutoff=cutoff,
                        after_time=after[0],
                        after_id=after[1],
                        batch=BATCH,
                    )
                if batch is None or batch["last_id"] is None:
                    break
                after = (batch["last_time"], batch["last_id"])
                deleted += batch["deleted"]
                run.done(f"{provider}_deleted", batch["deleted"], firm_id)
                run.progress(f"{provider}, firm {firm_id}: {deleted} of {action.rows} deleted")
        except LeaseLostError:
            raise
        except CpOpsError as error:
            run.fail(action.target, error, rows=action.rows - deleted)
