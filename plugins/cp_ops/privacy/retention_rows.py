"""The rows of one table under one policy: counted, and then archived, anonymised or deleted batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cp_ops.privacy.composed import ComposedStatements, named, template
from cp_ops.privacy.retention_plan import Survey, Verdict
from cp_ops.privacy.retention_targets import RetentionAction, descend

if TYPE_CHECKING:
    from psycopg import sql

    from cp_ops.privacy.personal_data import Catalogue
    from cp_ops.privacy.retention_plan import Assignment
    from cp_ops.privacy.retention_targets import Child, Target
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun

START = (datetime.min.replace(tzinfo=UTC), 0)
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
    after: tuple[datetime, int]


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
        rows = self._sql(tx).rows(f"survey {self.target.name}", self._filled("survey"), self._params)
        return Survey(self.assignment, self.target.name, tuple(Verdict(**row) for row in rows))

    def apply(self, tx: Transaction, after: tuple[datetime, int]) -> Batch:
        """Do the next batch in one transaction: find, lock, look again, act.

        Rows that the application holds are passed over: they are found again by the next run.
        """
        statements = self._sql(tx)
        found = statements.rows(
            f"find {self.target.name}",
            self._filled("next_batch"),
            {**self._params, "after_at": after[0], "after_id": after[1], "batch": self.target.batch},
        )
        if not found:
            return Batch(0, 0, after)
        last = (found[-1]["at"], found[-1]["id"])
        locked = statements.rows(
            f"lock {self.target.name}", self._table("lock_batch"), {"ids": [row["id"] for row in found]}
        )
        due = statements.rows(
            f"look again at {self.target.name}",
            self._filled("still_due"),
            {**self._params, "ids": [row["id"] for row in locked]},
        )
        ids = [row["id"] for row in due]
        if ids:
            self._act(tx, statements, ids)
        return Batch(len(found), len(ids), last)

    def _act(self, tx: Transaction, statements: ComposedStatements, ids: list[int]) -> None:
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
                for doing, statement in self._deletions():
                    statements.execute(doing, statement, params)
                tx.execute("check_constraints")

    def _deletions(self) -> list[tuple[str, sql.Composed]]:
        from psycopg import sql

        steps: list[tuple[str, sql.Composed]] = []
        for path, child in descend(self.target.children):
            if not all(one.table in self._catalogue.tables for one in (*path, child)):
                continue
            if child.column not in self._catalogue.tables[child.table].columns:
                continue
            steps.append(
                (
                    f"{'detach' if child.stays else 'delete'} {child.table}",
                    template(
                        "retention",
                        "detach_rows" if child.stays else "delete_rows",
                        table=sql.Identifier(child.table),
                        column=sql.Identifier(child.column),
                        condition=self._belongs((*path, child)),
                    ),
                )
            )
        own = template("retention", "children_of_batch", column=sql.Identifier(self._key(self.target.table)))
        rows = template(
            "retention",
            "delete_rows",
            table=sql.Identifier(self.target.table),
            column=sql.SQL(""),
            condition=own,
        )
        return [*steps, (f"delete {self.target.table}", rows)]

    def _belongs(self, path: tuple[Child, ...]) -> sql.Composed:
        """Compose which rows of the last table of a path go with the batch."""
        from psycopg import sql

        column = sql.Identifier(path[-1].column)
        if len(path) == 1:
            return template("retention", "children_of_batch", column=column)
        parent = path[-2].table
        return template(
            "retention",
            "children_of",
            column=column,
            key=sql.Identifier(self._key(parent)),
            parent=sql.Identifier(parent),
            condition=self._belongs(path[:-1]),
        )

    def _key(self, table: str) -> str:
        return self._catalogue.tables[table].primary_key

    def _filled(self, name: str) -> sql.Composed:
        return template(
            "retention",
            name,
            rows=named("retention", f"{self.target.name}_rows"),
            verdict=template("retention", "verdict"),
        )

    def _table(self, name: str) -> sql.Composed:
        from psycopg import sql

        return template(
            "retention",
            name,
            table=sql.Identifier(self.target.table),
            key=sql.Identifier(self._key(self.target.table)),
        )

    def _sql(self, tx: Transaction) -> ComposedStatements:
        return ComposedStatements(tx, self._run.outcome)
