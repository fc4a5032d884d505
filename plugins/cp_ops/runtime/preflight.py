"""Before anything is written: the connected database has what the job needs, and lets the job see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import PreflightError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from cp_ops.runtime.database import Transaction


@dataclass(frozen=True)
class Table:
    """A table that a job uses: its columns, the privileges, and whether a deployment may lack it."""

    name: str
    columns: tuple[str, ...]
    privileges: tuple[str, ...] = ("SELECT",)
    optional: bool = False

    @classmethod
    def of(cls, name: str, columns: str, *privileges: str, optional: bool = False) -> Table:
        """Declare a table.

        :param columns: their names, separated by blanks.
        :param privileges: SELECT when not given.
        """
        return cls(name, tuple(columns.split()), privileges or ("SELECT",), optional)


@dataclass(frozen=True)
class Session:
    """What is known about the connection: its clock, its role, its tables."""

    now: datetime
    role: str
    guarded: bool
    missing: frozenset[str] = field(default_factory=frozenset)

    def has(self, table: str) -> bool:
        """Tell whether an optional table is there."""
        return table not in self.missing


def inspect(tx: Transaction, command: str, needs: Sequence[Table]) -> Session:
    """Check the job's tables, columns and privileges, and find out whether row-level security applies to the role.

    :raises PreflightError: naming the job and the table, column or privilege that is missing, or the table whose rows
        would be hidden from the role.
    """
    facts = tx.one("session_facts")
    assert facts is not None
    rows = tx.rows("needed_columns", **_arrays(needs))
    missing = {row["table_name"] for row in rows if row["table_missing"]}
    optional = {table.name for table in needs if table.optional}
    problems = [f"table {name} is missing" for name in sorted(missing - optional)]
    problems += [
        f"column {row['table_name']}.{row['column_name']} is missing"
        for row in rows
        if row["column_missing"] and not row["table_missing"]
    ]
    problems += sorted(
        {
            f"role {facts['role']} lacks {', '.join(row['lacking'])} on {row['table_name']}"
            for row in rows
            if row["lacking"]
        }
    )
    guarded = sorted({row["table_name"] for row in rows if row["guarded"]})
    hidden = sorted({row["table_name"] for row in rows if row["guarded"] and not row["follows_setting"]})
    problems += [
        f"row-level security hides rows of {name} from role {facts['role']}, and its policy does not follow "
        "app.current_firm_id: give the role BYPASSRLS"
        for name in hidden
    ]
    if problems:
        raise PreflightError(f"{command} cannot run on this database: " + "; ".join(problems))
    return Session(
        now=facts["now"], role=facts["role"], guarded=bool(guarded), missing=frozenset(missing & optional)
    )


def _arrays(needs: Iterable[Table]) -> dict[str, list[str]]:
    tables: list[str] = []
    columns: list[str] = []
    privileges: list[str] = []
    for table in needs:
        for column in table.columns:
            tables.append(table.name)
            columns.append(column)
            privileges.append(",".join(table.privileges))
    return {"tables": tables, "columns": columns, "privileges": privileges}
