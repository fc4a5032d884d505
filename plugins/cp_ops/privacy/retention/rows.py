"""The rows of one table under one policy: counted, and then archived, anonymised or deleted batch by batch."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any, Protocol

from psycopg import sql

from cp_ops.privacy.retention.covered_tables import SMALL_BATCH, RetentionAction
from cp_ops.privacy.retention.deletion import deletions
from cp_ops.privacy.retention.plan import Disposition, RowsByDisposition, TableSurvey
from cp_ops.runtime.statements import ComposedStatement, part, template

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from cp_ops.privacy.catalogue import Catalogue
    from cp_ops.privacy.retention.covered_tables import CoveredTable
    from cp_ops.privacy.retention.policies import AppliedPolicy
    from cp_ops.runtime.batches import Position
    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.job import JobRun


@dataclass(frozen=True, slots=True)
class AppliedBatch:
    """A batch that was done.

    :ivar found: rows that were looked at; 0 when there are no more.
    :ivar done: rows that were changed or deleted.
    :ivar after: where the next batch begins.
    """

    found: int
    done: int
    after: Position


class RowsUnderPolicy(Protocol):
    """Rows of one table under one policy."""

    applied: AppliedPolicy

    @property
    def name(self) -> str:
        """What the rows are called in a plan."""
        ...

    def survey(self, tx: Transaction) -> TableSurvey:
        """Count what the policy meets, by what becomes of it."""
        ...

    def collected(self, tenant: Tenant) -> AbstractContextManager[None]:
        """Hold what the batches need between them."""
        ...

    def apply(self, tx: Transaction, after: Position) -> AppliedBatch:
        """Do the next batch in one transaction."""
        ...


class PolicyRows:
    """A policy's rows in one of the application's tables."""

    def __init__(
        self, run: JobRun, applied: AppliedPolicy, covered: CoveredTable, catalogue: Catalogue
    ) -> None:
        self._run, self._catalogue = run, catalogue
        self.applied, self.covered = applied, covered
        self._params: dict[str, Any] = {
            "firm_id": applied.policy.firm_id,
            "cutoff": applied.cutoff,
            "cutoff_day": applied.cutoff_day,
            "today": run.now.astimezone(UTC).date(),
            "now": run.now,
            "action": applied.action.value,
            "only_if_inactive": applied.policy.only_if_inactive,
            "command": run.command,
            "run_id": run.run_id,
        }

    @property
    def name(self) -> str:
        """What the rows are called in a plan."""
        return self.covered.name

    def survey(self, tx: Transaction) -> TableSurvey:
        """Count what the policy meets, by what becomes of it."""
        statement = ComposedStatement(f"survey {self.name}", self._filled("privacy/retention/survey"))
        return TableSurvey(
            self.applied, self.name, tuple(tx.rows(statement, RowsByDisposition, **self._params))
        )

    @contextmanager
    def collected(self, tenant: Tenant) -> Iterator[None]:
        """Collect the rows that are due, in one pass over the table; they are forgotten at the end."""
        collect = ComposedStatement(f"collect {self.name}", self._filled("privacy/retention/collect_due"))
        with self._run.temporary_tables(["create_retention_due"], "drop_retention_due"):
            with self._run.read(
                tenant
            ) as tx:  # PostgreSQL lets a read-only transaction fill temporary tables
                tx.execute(collect, **self._params)
            yield

    def apply(self, tx: Transaction, after: Position) -> AppliedBatch:
        """Do the next batch in one transaction.

        Rows that the application holds are passed over: they are found again by the next run.
        """
        size = self.covered.batch if self.applied.action is RetentionAction.DELETE else SMALL_BATCH
        found = tx.rows("next_due", after_at=after[0], after_id=after[1], batch=size)
        if not found:
            return AppliedBatch(0, 0, after)
        done = self.settle(tx, [row["id"] for row in found])
        return AppliedBatch(len(found), done, (found[-1]["at"], found[-1]["id"]))

    def settle(self, tx: Transaction, candidates: list[int]) -> int:
        """Lock rows, look at them again, act on those that are still due; gives how many."""
        locked = tx.rows(lock_statement(self.covered, self._catalogue), ids=candidates)
        # The rows were collected some time ago. Somebody may have set a legal hold since, or opened the ticket again:
        # the same rule that planned them is asked once more, now that nobody else can change them.
        due = tx.rows(
            ComposedStatement(f"look again at {self.name}", self._filled("privacy/retention/still_due")),
            **self._params,
            ids=[row["id"] for row in locked],
        )
        if ids := [row["id"] for row in due]:
            self._act(tx, ids)
        return len(ids)

    def _act(self, tx: Transaction, ids: list[int]) -> None:
        params = {**self._params, "ids": ids}
        match self.applied.action:
            case RetentionAction.ARCHIVE:
                tx.execute(self.covered.archive, **params)
            case RetentionAction.ANONYMIZE:
                for statement in self.covered.anonymise:
                    tx.execute(statement, **params)
            case RetentionAction.DELETE:
                # Where the objects are stands in the rows only: it is written down before they go.
                if self.covered.writes_down_objects:
                    tx.execute(self.covered.writes_down_objects, **params)
                for deletion in deletions(self.covered, self._catalogue):
                    tx.execute(deletion, **params)
                # The application's foreign keys are deferred to COMMIT; asked for now, an error names its statement.
                tx.execute("check_constraints")

    def _filled(self, address: str) -> sql.Composed:
        return filled(address, self.covered)


def lock_statement(covered: CoveredTable, catalogue: Catalogue) -> ComposedStatement:
    """Compose the lock on a batch of rows."""
    return ComposedStatement(
        f"lock {covered.name}",
        template(
            "privacy/retention/lock_batch",
            table=sql.Identifier(covered.table),
            key=sql.Identifier(catalogue.tables[covered.table].primary_key),
        ),
    )


def filled(address: str, covered: CoveredTable) -> sql.Composed:
    """Fill a template that asks what becomes of a table's rows: the one rule for survey, collection and second look."""
    due = sql.Literal(Disposition.DUE.value)
    return template(
        address,
        rows=part(f"privacy/retention/{covered.rows}"),
        due=due,
        disposition=template(
            "privacy/retention/disposition",
            due=due,
            done=sql.Literal(Disposition.DONE.value),
            legal_hold=sql.Literal(Disposition.LEGAL_HOLD.value),
            still_active=sql.Literal(Disposition.STILL_ACTIVE.value),
        ),
    )
