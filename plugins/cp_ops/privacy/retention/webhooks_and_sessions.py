"""Retention of webhook events, as cleanup_webhook_events does it, and of sessions, which belong to no firm."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

from cp_ops.privacy.retention.covered_tables import LARGE_BATCH
from cp_ops.privacy.retention.plan import DUE, SESSIONS, Assignment, Survey, Verdict
from cp_ops.privacy.retention.rows import Batch
from cp_ops.privacy.webhook_cleanup.events import delete_batch, read_backlogs
from cp_ops.privacy.webhook_cleanup.providers import PROVIDERS

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
        return PROVIDERS[self._provider].table.name

    def survey(self, tx: Transaction) -> Survey:
        """Count events before the cutoff."""
        policy = self.assignment.policy
        backlogs = read_backlogs(tx, self._provider, firm_ids=[policy.firm_id], cutoff=self.assignment.cutoff)
        if not backlogs:
            return Survey(self.assignment, self.name, ())
        (backlog,) = backlogs
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
        batch = delete_batch(
            tx,
            self._provider,
            firm_id=self.assignment.policy.firm_id,
            cutoff=self.assignment.cutoff,
            after=after,
            batch=LARGE_BATCH,
        )
        return Batch(LARGE_BATCH, batch.deleted, batch.last) if batch else Batch(0, 0, after)


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
