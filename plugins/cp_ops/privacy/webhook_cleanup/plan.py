"""Which webhook events go: pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from cp_ops.privacy.webhook_cleanup.providers import PROVIDERS
from cp_ops.runtime.plan import UNHASHED, Action, Payload, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class Backlog:
    """A firm's events of one provider that are older than the cutoff.

    :ivar oldest: of the processed ones; None when there is none.
    """

    provider: str
    firm_id: int
    processed: int
    unprocessed: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True, eq=False)
class ProcessedEvents(Payload):
    """The processed events of one provider and firm that are deleted.

    :ivar before: the cutoff as ISO text.
    """

    provider: str
    before: str
    firm_id: int = field(metadata=UNHASHED)


def retention_cutoff(now: datetime, days: int) -> datetime:
    """Give the midnight (UTC) `days` days ago: the same all day, so that a preview's plan is the run's plan."""
    return datetime.combine(now.astimezone(UTC).date() - timedelta(days=days), time(), UTC)


def plan_cleanup(backlogs: Iterable[Backlog], *, cutoff: datetime, missing: Iterable[str] = ()) -> Plan:
    """Plan one deletion per provider and firm; unprocessed and failed events are kept, whatever their age.

    :param cutoff: events before this instant are old.
    :param missing: providers whose table this deployment does not have.
    """
    return Plan.of(_items(backlogs, cutoff, missing))


def _items(backlogs: Iterable[Backlog], cutoff: datetime, missing: Iterable[str]) -> Iterator[Action | Skip]:
    for provider in missing:
        table = PROVIDERS[provider].table.name
        yield Skip(table, f"{provider}: this deployment has no table {table}")
    for backlog in backlogs:
        table = PROVIDERS[backlog.provider].table.name
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
                ProcessedEvents(backlog.provider, cutoff.isoformat(), backlog.firm_id),
            )
