"""A job's view of the application's database: transactions that know their tenant and run named statements."""

from __future__ import annotations

import logging
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

log = logging.getLogger(__name__)

Row = TypeVar("Row")
STREAM_CHUNK = 2_000
"""Rows that a streamed read fetches at a time."""
CANCEL_SECONDS = 5
"""How long to try to cancel a statement; then its connection is closed without."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """The firms that one transaction may see.

    Where the role bypasses row-level security one tenant holds every firm of the run, so that statements are
    set-based; where it does not, there is one tenant per firm and `guard` is that firm's id.
    """

    firm_ids: tuple[int, ...]
    guard: int | None = None


@contextmanager
def transaction(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Open a transaction, or a savepoint in an open one; an interrupted one leaves nothing at the server.

    :raises CpOpsError: for what the driver raises, also at COMMIT, where deferred constraints are checked.
    """
    import psycopg

    doing = "begin"
    try:
        with (
            ended_when_interrupted(connection),  # at BEGIN and COMMIT, too
            connection.transaction(),
            ended_when_interrupted(connection),  # before psycopg tries to roll back
        ):
            doing = "statement"
            yield
            doing = "commit"
    except psycopg.Error as error:
        raise _interruption(error) or translate(error, doing=doing) from None


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the driver's errors into ours.

    :param doing: what was being done; the start of the message.
    """
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise _interruption(error) or translate(error, doing=doing) from None


@contextmanager
def ended_when_interrupted(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Leave no statement executing when an exception strikes while the driver waits for its result.

    psycopg cancels a statement on KeyboardInterrupt and SystemExit only. A task's timeout is another exception: the
    statement would go on at the server, its transaction would stay open, and whatever is sent next would fail.
    """
    try:
        yield
    except BaseException:
        end_interrupted(connection)
        raise


def end_interrupted(connection: psycopg.Connection[Any]) -> None:
    """Cancel the statement that a connection is still executing, and close the connection: nothing of it commits."""
    from psycopg.pq import TransactionStatus

    if connection.closed or connection.info.transaction_status is not TransactionStatus.ACTIVE:
        return
    try:
        connection.cancel_safe(timeout=CANCEL_SECONDS)
    except Exception as error:  # noqa: BLE001 - what interrupted it matters more
        log.warning("the interrupted statement could not be cancelled: %s", type(error).__name__)
    connection.close()


def _interruption(error: BaseException) -> BaseException | None:
    """Give the timeout, or whatever is no error of a program, that a driver's error came after and would hide."""
    context = error.__context__
    while context is not None and (isinstance(context, Exception | GeneratorExit)):
        context = context.__context__
    return context


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
        with transaction(self.connection):
            yield

    def _query(self, statement: Statement) -> bytes | sql.Composed:
        if not self._identifiers:
            return statement.text.encode()
        from psycopg import sql

        template = sql.SQL(statement.text)
        return template.format(**{name: sql.Identifier(value) for name, value in self._identifiers.items()})

    @contextmanager
    def _running(self, name: str) -> Iterator[Statement]:
        statement = statements(self._domain)[name]
        self._outcome.statements += 1
        with translated(str(statement)):
            yield statement


def _factory(row: Callable[..., Any] | None) -> Any:
    from psycopg.rows import dict_row, kwargs_row

    return kwargs_row(row) if row else dict_row
