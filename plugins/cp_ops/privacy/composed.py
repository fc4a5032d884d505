"""Named statements whose tables and columns come from the personal-data map or the catalogue.

A template in `include/sql/templates/` has ``{table}``-like places besides its ``%(bound)s`` values. Places are
filled with identifiers and literals, quoted by psycopg, of names that the catalogue of the connected database has,
and with other named statements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.runtime.database import translated
from cp_ops.runtime.statements import statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg import sql

    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.outcome import Outcome

Line = bytes | bytearray | memoryview
"""What COPY gives: one row."""


def template(domain: str, name: str, **places: sql.Composable) -> sql.Composed:
    """Fill the places of a template of `include/sql/templates/<domain>.sql`."""
    from psycopg import sql

    return sql.SQL(statements(f"templates/{domain}")[name].text).format(**places)


def named(domain: str, name: str) -> sql.Composed:
    """Give a named statement to put into a template's place."""
    from psycopg import sql

    return sql.Composed([sql.SQL(statements(domain)[name].text)])


class ComposedStatements:
    """Runs composed statements in a transaction; counted, and failing without values, as named ones do."""

    def __init__(self, tx: Transaction, outcome: Outcome) -> None:
        self._connection = tx.connection
        self._outcome = outcome

    def rows(self, doing: str, query: sql.Composed, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run a query and give its rows.

        :param doing: what the statement is for; the start of an error's message.
        """
        from psycopg.rows import dict_row

        self._outcome.statements += 1
        with translated(doing), self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, params).fetchall()

    def count(self, doing: str, query: sql.Composed, params: Mapping[str, Any]) -> int:
        """Run a query for a number: its column ``rows``."""
        return int(self.rows(doing, query, params)[0]["rows"])

    def execute(self, doing: str, query: sql.Composed, params: Mapping[str, Any]) -> int:
        """Run a statement and give the number of rows that it touched."""
        self._outcome.statements += 1
        with translated(doing), self._connection.cursor() as cursor:
            return cursor.execute(query, params).rowcount

    def lines(self, doing: str, query: sql.Composed, params: Mapping[str, Any]) -> Iterator[Line]:
        """Run a ``COPY ... TO STDOUT`` and give its lines as they come."""
        self._outcome.statements += 1
        with translated(doing), self._connection.cursor() as cursor, cursor.copy(query, params) as copy:
            yield from copy
