"""Retention of webhook events, as cleanup_webhook_events does it, and of sessions, which belong to no firm."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

from cp_ops.privacy.retention.covered_tables import LARGE_BATCH
from cp_ops.privacy.retention.plan import DUE, SESSIONS, Assignment, Survey, Verdict
from cp_ops.privacy.retention.rows import Batch
from cp_ops.privacy.webhook_cleanup.job import TABLES, Backlog

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from cp_ops.privacy.retention.rows import Position
    from cp_ops.runtime.database import Tenant, Transaction


class CoveredRows(Protocol):
    """Rows of one table under one policy."""

    assignment: Assignment

    @property
    def name(self) -> str:
        """What the rows are called in a plan."""
        ...

    def survey(self, tx: Transaction) -> Survey:
        """Count what the policy meets, by what becomes of it."""
        ...

    def collected(self, tenant: Tenant) -> AbstractContextManager[None]:
        """Hold what the batches need between them."""
        ...

    def apply(self, tx: Transaction, after: Position) -> Batch:
        """Do the next batch in one transaction."""
        ...


class WebhookRows:
    """A provider's webhook events of a firm: processed ones go, unprocessed and failed ones stay."""

    def __init__(self, assignment: Assignment, provider: str) -> None:
        self.assignment, self._provider = assignment, provider

    @property
    def name(self) -> str:
        """Name the provider's events."""
        return f"{self._provider}_webhooks"

    @property
    def table(self) -> str:
        """Name the provider's table."""
        return TABLES[self._provider].name

    def survey(self, tx: Transaction) -> Survey:
        """Count events before the cutoff."""
        backlog = tx.one(
            f"privacy/webhook_cleanup/{self._provider}_backlog",
            Backlog,
            firm_ids=[self.assignment.policy.firm_id],
            cutoff=self.assignment.cutoff,
        )
        if backlog is None:
            return Survey(self.assignment, self.name, ())
        verdicts = (
            Verdict(DUE, backlog.processed, backlog.oldest, None),
            Verdict("not processed or failed", backlog.unprocessed),
        )
        return Survey(self.assignment, self.name, tuple(one for one in verdicts if one.rows))

    def collected(self, tenant: Tenant) -> AbstractContextManager[None]:  # noqa: ARG002 - batches find their own
        """Hold nothing."""
        return nullcontext()

    def apply(self, tx: Transaction, after: Position) -> Batch:
        """Delete the next events."""
        batch = tx.one(
            f"privacy/webhook_cleanup/delete_{self._provider}_events",
            firm_id=self.assignment.policy.firm_id,
            cutoff=self.assignment.cutoff,
            after_time=after[0],
            after_id=after[1],
            batch=LARGE_BATCH,
        )
        if batch is None or batch["last_id"] is None:
            return Batch(0, 0, after)
        return Batch(LARGE_BATCH, batch["deleted"], (batch["last_time"], batch["last_id"]))


class SessionRows:
    """Sessions that expired before the cutoff."""

    name = SESSIONS
    table = "django_session"

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment

    def survey(self, tx: Transaction) -> Survey:
        """Count them."""
        row = tx.one("expired_sessions", cutoff=self.assignment.cutoff)
        due = (Verdict(DUE, row["rows"], row["first"], row["last"]),) if row and row["rows"] else ()
        return Survey(self.assignment, self.name, due)

    def collected(self, tenant: Tenant) -> AbstractContextManager[None]:  # noqa: ARG002 - batches find their own
        """Hold nothing."""
        return nullcontext()

    def apply(self, tx: Transaction, after: Position) -> Batch:
        """Delete the next ones."""
        deleted = tx.execute("delete_sessions", cutoff=self.assignment.cutoff, batch=LARGE_BATCH)
        return Batch(deleted, deleted, after)
