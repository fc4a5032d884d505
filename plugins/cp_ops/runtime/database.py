"""A job's view of the application's database: transactions that know their tenant and run named statements."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

from cp_ops.runtime.errors import translate
from cp_ops.runtime.statements import Statement, statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import psycopg
    from psycopg import sql

    from cp_ops.runtime.outcome import Outcome

Row = TypeVar("Row")
STREAM_CHUNK = 2_000
"""Rows that a streamed read fetches at a time."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """The firms that one transaction may see.

    Where the role bypasses row-level security one tenant holds every firm of the run, so that statements are
    set-based; where it does not, there is one tenant per firm and `guard` is that firm's id.
    """

    firm_ids: tuple[int, ...]
    guard: int | None = None


class Transaction:
    """One open transaction. Every statement is named, bound, counted, and fails without printing values.

    :param identifiers: table and column names that the domain's statements leave open, as ``{payments}``: those of a
        deployment that swapped a model. They are quoted, never formatted in.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        domain: str,
        outcome: Outcome,
        identifiers: Mapping[str, str] | None = None,
    ) -> None:
        self.connection = connection
        self._domain = domain
        self._outcome = outcome
        self._identifiers = dict(identifiers or {})

    def with_identifiers(self, identifiers: Mapping[str, str]) -> Transaction:
        """Give the same transaction with the names that its domain's statements leave open."""
        return Transaction(self.connection, self._domain, self._outcome, identifiers)

    def execute(self, name: str, **params: Any) -> int:
        """Run a statement and give the number of rows that it touched."""
        with self._running(name) as statement, self.connection.cursor() as cursor:
            return cursor.execute(self._query(statement), params).rowcount

    @overload
    def rows(self, name: str, **params: Any) -> list[dict[str, Any]]: ...

    @overload
    def rows(self, name: str, row: Callable[..., Row], **params: Any) -> list[Row]: ...

    def rows(self, name: str, row: Callable[..., Any] | None = None, **params: Any) -> list[Any]:
        """Run a query and give all of its rows.

        :param row: builds a row from the columns as keywords, such as a dataclass; a dict when not given.
        """
        with self._running(name) as statement, self.connection.cursor(row_factory=_factory(row)) as cursor:
            cursor.execute(self._query(statement), params)
            return cursor.fetchall()

    @overload
    def one(self, name: str, **params: Any) -> dict[str, Any] | None: ...

    @overload
    def one(self, name: str, row: Callable[..., Row], **params: Any) -> Row | None: ...

    def one(self, name: str, row: Callable[..., Any] | None = None, **params: Any) -> Any:
        """Run a query and give its first row, or None."""
        found = self.rows(name, row, **params) if row else self.rows(name, **params)
        return found[0] if found else None

    @overload
    def stream(self, name: str, **params: Any) -> Iterator[dict[str, Any]]: ...

    @overload
    def stream(self, name: str, row: Callable[..., Row], **params: Any) -> Iterator[Row]: ...

    def stream(self, name: str, row: Callable[..., Any] | None = None, **params: Any) -> Iterator[Any]:
        """Run a query and read its rows as they come, at constant memory."""
        with (
            self._running(name) as statement,
            self.connection.cursor(name=f"cp_ops_{name}", row_factory=_factory(row)) as cursor,
        ):
            cursor.itersize = STREAM_CHUNK
            cursor.execute(self._query(statement), params)
            yield from cursor

    def copy(self, name: str, rows: Iterable[Sequence[Any]]) -> int:
        """Write rows by COPY; the named statement is a ``COPY ... FROM STDIN``. Gives the number of rows."""
        count = 0
        with (
            self._running(name) as statement,
            self.connection.cursor() as cursor,
            cursor.copy(statement.text.encode()) as copy,
        ):
            for values in rows:
                copy.write_row(values)
                count += 1
        return count

    @contextmanager
    def in_domain(self, domain: str) -> Iterator[Transaction]:
        """Run statements of another domain's file: the runtime's own, for one."""
        yield Transaction(self.connection, domain, self._outcome)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Keep the transaction usable when what is inside fails: one bad row never stops the others."""
        with self.connection.transaction():
            yield

    def _query(self, statement: Statement) -> bytes | sql.Composed:
        if not self._identifiers:
            return statement.text.encode()
        from psycopg import sql

        template = sql.SQL(statement.text)
        return template.format(**{name: sql.Identifier(value) for name, value in self._identifiers.items()})

    @contextmanager
    def _running(self, name: str) -> Iterator[Statement]:
        import psycopg

        statement = statements(self._domain)[name]
        self._outcome.statements += 1
        try:
            yield statement
        except psycopg.Error as error:
            raise translate(error, doing=str(statement)) from None


def _factory(row: Callable[..., Any] | None) -> Any:
    from psycopg.rows import dict_row, kwargs_row

    return kwargs_row(row) if row else dict_row
