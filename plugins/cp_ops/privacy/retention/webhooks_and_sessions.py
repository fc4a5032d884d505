"""Rows of a kind of their own: webhook events, as cleanup_webhook_events deletes them, and sessions, which belong to no firm."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from cp_ops.privacy.retention.covered_tables import LARGE_BATCH
from cp_ops.privacy.retention.plan import Disposition, RowsByDisposition, TableSurvey
from cp_ops.privacy.retention.policies import SESSIONS
from cp_ops.privacy.retention.rows import AppliedBatch
from cp_ops.privacy.webhook_cleanup.events import delete_batch, read_backlogs

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from cp_ops.privacy.retention.policies import AppliedPolicy
    from cp_ops.runtime.batches import Position
    from cp_ops.runtime.database import Tenant, Transaction


class WebhookRows:
    """A provider's webhook events of a firm: processed ones go, unprocessed and failed ones stay."""

    def __init__(self, applied: AppliedPolicy, provider: str) -> None:
        self.applied, self._provider = applied, provider

    @property
    def name(self) -> str:
        """Name the provider's events."""
        return f"{self._provider}_webhooks"

    def survey(self, tx: Transaction) -> TableSurvey:
        """Count events before the cutoff."""
        backlogs = read_backlogs(
            tx, self._provider, firm_ids=[self.applied.policy.firm_id], cutoff=self.applied.cutoff
        )
        met = [
            rows
            for backlog in backlogs
            for rows in (
                RowsByDisposition(Disposition.DUE, backlog.processed, backlog.oldest),
                RowsByDisposition("not processed or failed", backlog.unprocessed),
            )
            if rows.rows
        ]
        return TableSurvey(self.applied, self.name, tuple(met))

    def collected(self, tenant: Tenant) -> AbstractContextManager[None]:  # noqa: ARG002 - batches find their own
        """Hold nothing."""
        return nullcontext()

    def apply(self, tx: Transaction, after: Position) -> AppliedBatch:
        """Delete the next events."""
        batch = delete_batch(
            tx,
            self._provider,
            firm_id=self.applied.policy.firm_id,
            cutoff=self.applied.cutoff,
            after=after,
            batch=LARGE_BATCH,
        )
        return AppliedBatch(LARGE_BATCH, batch.deleted, batch.last) if batch else AppliedBatch(0, 0, after)


class SessionRows:
    """Sessions that expired before the cutoff."""

    name = SESSIONS
    table = "django_session"

    def __init__(self, applied: AppliedPolicy) -> None:
        self.applied = applied

    def survey(self, tx: Transaction) -> TableSurvey:
        """Count them."""
        row = tx.one("expired_sessions", cutoff=self.applied.cutoff)
        if row is None or not row["rows"]:
            return TableSurvey(self.applied, self.name, ())
        return TableSurvey(self.applied, self.name, (RowsByDisposition(Disposition.DUE, **row),))

    def collected(self, tenant: Tenant) -> AbstractContextManager[None]:  # noqa: ARG002 - batches find their own
        """Hold nothing."""
        return nullcontext()

    def apply(self, tx: Transaction, after: Position) -> AppliedBatch:
        """Delete the next ones."""
        deleted = tx.execute("delete_sessions", cutoff=self.applied.cutoff, batch=LARGE_BATCH)
        return AppliedBatch(deleted, deleted, after)
