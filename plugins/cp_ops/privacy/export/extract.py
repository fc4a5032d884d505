"""What of one table goes into a person's export: the SQL that counts it and copies it as JSON Lines or CSV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from cp_ops.runtime.statements import template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cp_ops.privacy.catalogue import CatalogueTable

NEVER_FORMULAS = frozenset(
    {
        "smallint",
        "integer",
        "bigint",
        "numeric",
        "real",
        "double precision",
        "boolean",
        "uuid",
        "inet",
        "cidr",
        "date",
        "timestamp with time zone",
        "timestamp without time zone",
        "json",
        "jsonb",
        "bytea",
    }
)
"""Types whose text a spreadsheet never takes for a formula, or that would be spoiled by an escape."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""https://owasp.org/www-community/attacks/CSV_Injection"""
TIMES = ("created_at", "timestamp", "date")
"""Columns that say when a row came about, the best first."""


@dataclass(frozen=True)
class TableExtract:
    """What of one table goes into the export, and the SQL that counts and copies it.

    :ivar columns: as they are shown; a value that is somebody else's is NULL there.
    :ivar condition: which rows; None when the map gives no row of this table to anybody.
    :ivar authored: columns by which the user did something to a row.
    :ivar withheld: columns that are in no export.
    :ivar guarded: the condition looks at rows that row-level security hides: it is asked firm by firm.
    """

    table: CatalogueTable
    columns: Mapping[str, sql.Composable]
    condition: sql.Composable | None
    authored: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    guarded: bool = False

    def count(self) -> sql.Composed:
        """How many rows."""
        return template("privacy/export/count_rows", **self._places())

    def count_references(self) -> sql.Composed:
        """How many references."""
        return template(
            "privacy/export/count_references",
            sum=sql.SQL(" + ").join(
                template(
                    "privacy/export/count_references_by",
                    table=sql.Identifier(self.table.name),
                    column=sql.Identifier(column),
                )
                for column in self.authored
            ),
        )

    def as_json(self) -> sql.Composed:
        """Give the rows as JSON Lines."""
        return template("privacy/export/rows_as_json", columns=_listed(self.columns), **self._places())

    def as_csv(self, *, header: bool) -> sql.Composed:
        """Give the rows as CSV, the header before the first of several statements only."""
        # A negative number begins like a formula, and an apostrophe would make it text: only texts are escaped.
        columns = {
            name: value if self.table.columns[name] in NEVER_FORMULAS else harmless(value)
            for name, value in self.columns.items()
        }
        return template(
            "privacy/export/rows_as_csv",
            columns=_listed(columns),
            header=sql.Literal(header),
            **self._places(),
        )

    def references(self) -> Iterator[sql.Composed]:
        """Give the queries for the references, one per column."""
        at = next((name for name in TIMES if name in self.table.columns), None)
        for column in self.authored:
            yield template(
                "privacy/export/references_query",
                table=sql.Identifier(self.table.name),
                table_name=sql.Literal(self.table.name),
                key=sql.Identifier(self.table.primary_key),
                column=sql.Identifier(column),
                column_name=sql.Literal(column),
                at=sql.SQL("{}::timestamptz").format(sql.Identifier(at))
                if at
                else sql.SQL("NULL::timestamptz"),
            )

    def _places(self) -> dict[str, sql.Composable]:
        assert self.condition is not None
        return {
            "table": sql.Identifier(self.table.name),
            "key": sql.Identifier(self.table.primary_key),
            "condition": self.condition,
        }


def harmless(value: sql.Composable) -> sql.Composable:
    """Put an apostrophe before text that a spreadsheet would take for a formula."""
    starts = sql.SQL(", ").join(sql.Literal(start) for start in FORMULA_STARTS)
    return sql.SQL(
        "CASE WHEN left(({0})::text, 1) IN ({1}) THEN '''' || ({0})::text ELSE ({0})::text END"
    ).format(value, starts)


def _listed(columns: Mapping[str, sql.Composable]) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(value, sql.Identifier(name)) for name, value in columns.items()
    )
