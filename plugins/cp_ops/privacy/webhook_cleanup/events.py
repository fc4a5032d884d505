"""The statements on a provider's webhook events: counted per firm, deleted batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from cp_ops.privacy.webhook_cleanup.plan import Backlog
from cp_ops.privacy.webhook_cleanup.providers import PROVIDERS
from cp_ops.runtime.statements import ComposedStatement, template

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cp_ops.runtime.batches import Position
    from cp_ops.runtime.database import Transaction


@dataclass(frozen=True, slots=True)
class DeletedBatch:
    """A batch of events that was looked at; one that changed meanwhile was not deleted.

    :ivar last: where the next batch begins.
    """

    deleted: int
    last: Position


def read_backlogs(
    tx: Transaction, provider: str, *, firm_ids: Sequence[int], cutoff: datetime
) -> list[Backlog]:
    """Count the firms' events before the cutoff; a firm without any has no backlog."""
    return tx.rows(backlog_statement(provider), Backlog, firm_ids=list(firm_ids), cutoff=cutoff)


def delete_batch(
    tx: Transaction, provider: str, *, firm_id: int, cutoff: datetime, after: Position, batch: int
) -> DeletedBatch | None:
    """Delete the next processed events of a firm before the cutoff; None when there are no more.

    :param batch: events at most.
    """
    row = tx.one(
        deletion_statement(provider),
        firm_id=firm_id,
        cutoff=cutoff,
        after_time=after[0],
        after_id=after[1],
        batch=batch,
    )
    if row is None or row["last_id"] is None:
        return None
    return DeletedBatch(row["deleted"], (row["last_time"], row["last_id"]))


def backlog_statement(provider: str) -> ComposedStatement:
    """Compose the count of a provider's old events."""
    return ComposedStatement(
        PROVIDERS[provider].counting,
        template("privacy/webhook_cleanup/backlog", provider=sql.Literal(provider), **_places(provider)),
    )


def deletion_statement(provider: str) -> ComposedStatement:
    """Compose the deletion of a batch of a provider's processed events."""
    return ComposedStatement(
        PROVIDERS[provider].deleting, template("privacy/webhook_cleanup/delete_batch", **_places(provider))
    )


def _places(provider: str) -> dict[str, sql.Composable]:
    events = PROVIDERS[provider]
    return {
        "table": sql.Identifier(events.table.name),
        "at": sql.Identifier(events.at),
        "processed": template(events.processed),
    }
