"""The rows of one table under one policy: counted, and then archived, anonymised or deleted batch by batch."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cp_ops.privacy.retention.plan import Survey, Verdict
from cp_ops.privacy.retention.targets import SMALL_BATCH, RetentionAction, descend
from cp_ops.runtime.statements import ComposedStatement, part, template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import sql

    from cp_ops.privacy.catalogue import Catalogue
    from cp_ops.privacy.retention.plan import Assignment
    from cp_ops.privacy.retention.targets import Child, Target
    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.job import JobRun

Position = tuple[datetime, int]
"""An age and a key: where the next batch begins."""
START: Position = (datetime.min.replace(tzinfo=UTC), 0)
"""Before the first row of every table."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was done.

    :ivar found: rows that were looked at; 0 when there are no more.
    :ivar done: rows that were changed or deleted.
    :ivar after: where the next batch begins: (age, id).
    """

    found: int
    done: int
    after: Position


class PolicyRows:
    """A policy's rows in one of its tables."""

    def __init__(self, run: JobRun, assignment: Assignment, target: Target, catalogue: Catalogue) -> None:
        self._run, self._catalogue = run, catalogue
        self.assignment, self.target = assignment, target
        self._params: dict[str, Any] = {
            "firm_id": assignment.policy.firm_id,
            "cutoff": assignment.cutoff,
            "cutoff_day": assignment.cutoff_day,
            "today": run.now.astimezone(UTC).date(),
            "now": run.now,
            "action": assignment.action.value,
            "only_if_inactive": assignment.policy.only_if_inactive,
        }

    @property
    def name(self) -> str:
        """What the rows are called in a plan."""
        return self.target.name

    def survey(self, tx: Transaction) -> Survey:
        """Count what the policy meets, by what becomes of it."""
        rows = tx.rows(
            ComposedStatement(f"survey {self.target.name}", self._filled("survey")), **self._params
        )
        return Survey(self.assignment, self.target.name, tuple(Verdict(**row) for row in rows))

    @contextmanager
    def collected(self, tenant: Tenant) -> Iterator[None]:
        """Collect the rows that are due, in one pass over the table; they are forgotten at the end."""
        with self._run.temporary_tables(["create_retention_due"], "drop_retention_due"):
            with self._run.read(tenant) as tx:
                tx.execute(
                    ComposedStatement(f"collect {self.name}", self._filled("collect_due")), **self._params
                )
            yield

    def apply(self, tx: Transaction, after: Position) -> Batch:
        """Do the next batch in one transaction.

        Rows that the application holds are passed over: they are found again by the next run.
        """
        size = self.target.batch if self.assignment.action is RetentionAction.DELETE else SMALL_BATCH
        found = tx.rows("next_due", after_at=after[0], after_id=after[1], batch=size)
        if not found:
            return Batch(0, 0, after)
        done = self.settle(tx, [row["id"] for row in found])
        return Batch(len(found), done, (found[-1]["at"], found[-1]["id"]))

    def settle(self, tx: Transaction, candidates: list[int]) -> int:
        """Lock rows, look at them again, act on those that are still due; gives how many."""
        locked = tx.rows(ComposedStatement(f"lock {self.name}", self._table("lock_batch")), ids=candidates)
        due = tx.rows(
            ComposedStatement(f"look again at {self.name}", self._filled("still_due")),
            **self._params,
            ids=[row["id"] for row in locked],
        )
        if ids := [row["id"] for row in due]:
            self._act(tx, ids)
        return len(ids)

    def _act(self, tx: Transaction, ids: list[int]) -> None:
        params = {**self._params, "ids": ids}
        match self.assignment.action:
            case RetentionAction.ARCHIVE:
                tx.execute(f"archive_{self.target.name}", **params)
            case RetentionAction.ANONYMIZE:
                for name in self.target.anonymise:
                    tx.execute(name, **params)
            case RetentionAction.DELETE:
                if self.target.name == "documents":
                    tx.execute(
                        "intend_object_deletions",
                        command=self._run.command,
                        run_id=self._run.run_id,
                        **params,
                    )
                for deletion in self._deletions():
                    tx.execute(deletion, **params)
                tx.execute("check_constraints")

    def _deletions(self) -> list[ComposedStatement]:
        from psycopg import sql

        steps: list[ComposedStatement] = []
        for path, child in descend(self.target.children):
            if not all(one.table in self._catalogue.tables for one in (*path, child)):
                continue
            if child.column not in self._catalogue.tables[child.table].columns:
                continue
            steps.append(
                ComposedStatement(
                    f"{'detach' if child.stays else 'delete'} {child.table}",
                    template(
                        "privacy/retention/detach_rows" if child.stays else "delete_rows",
                        table=sql.Identifier(child.table),
                        column=sql.Identifier(child.column),
                        condition=self._belongs((*path, child)),
                    ),
                )
            )
        own = template(
            "privacy/retention/children_of_batch", column=sql.Identifier(self._key(self.target.table))
        )
        rows = template(
            "privacy/retention/delete_rows",
            table=sql.Identifier(self.target.table),
            column=sql.SQL(""),
            condition=own,
        )
        return [*steps, ComposedStatement(f"delete {self.target.table}", rows)]

    def _belongs(self, path: tuple[Child, ...]) -> sql.Composed:
        """Compose which rows of the last table of a path go with the batch."""
        from psycopg import sql

        column = sql.Identifier(path[-1].column)
        if len(path) == 1:
            return template("privacy/retention/children_of_batch", column=column)
        parent = path[-2].table
        return template(
            "privacy/retention/children_of",
            column=column,
            key=sql.Identifier(self._key(parent)),
            parent=sql.Identifier(parent),
            condition=self._belongs(path[:-1]),
        )

    def _key(self, table: str) -> str:
        return self._catalogue.tables[table].primary_key

    def _filled(self, name: str) -> sql.Composed:
        return template(
            f"privacy/retention/{name}",
            rows=part(f"privacy/retention/{self.target.name}_rows"),
            verdict=template("privacy/retention/verdict"),
        )

    def _table(self, name: str) -> sql.Composed:
        from psycopg import sql

        return template(
            f"privacy/retention/{name}",
            table=sql.Identifier(self.target.table),
            key=sql.Identifier(self._key(self.target.table)),
        )
