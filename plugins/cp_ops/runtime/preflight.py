"""Before anything is written: the connected database has what the job needs, and lets the job see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.errors import PreflightError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    role: str = facts["role"]
    optional = {table.name for table in needs if table.optional}
    missing = {row["table_name"] for row in rows if row["table_missing"]}
    problems = [
        *(f"table {name} is missing" for name in sorted(missing - optional)),
        *_missing_columns(rows),
        *_lacking_privileges(rows, role),
        *_hidden_rows(rows, role),
    ]
    if problems:
        raise PreflightError(f"{command} cannot run on this database: " + "; ".join(problems))
    return Session(
        now=facts["now"],
        role=role,
        guarded=any(row["guarded"] for row in rows),
        missing=frozenset(missing & optional),
    )


def _missing_columns(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        if row["column_missing"] and not row["table_missing"]:
            yield f"column {row['table_name']}.{row['column_name']} is missing"


def _lacking_privileges(rows: Iterable[Mapping[str, Any]], role: str) -> list[str]:
    lacking = {(row["table_name"], ", ".join(row["lacking"])) for row in rows if row["lacking"]}
    return sorted(f"role {role} lacks {privileges} on {table}" for table, privileges in lacking)


def _hidden_rows(rows: Iterable[Mapping[str, Any]], role: str) -> Iterator[str]:
    # A policy that follows the setting shows a firm's rows to a transaction of that firm. Any other policy would hide
    # rows without an error, and the run would take what it sees for all there is.
    hidden = {row["table_name"] for row in rows if row["guarded"] and not row["follows_setting"]}
    for name in sorted(hidden):
        yield (
            f"row-level security hides rows of {name} from role {role}, and its policy does not follow "
            "app.current_firm_id: give the role BYPASSRLS"
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
