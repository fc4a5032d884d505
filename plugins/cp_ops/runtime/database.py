"""A job's view of the application's database: transactions that run named and composed statements."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, overload

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, kwargs_row

from cp_ops.runtime.errors import translate
from cp_ops.runtime.statements import ComposedStatement, statement_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cp_ops.runtime.outcome import Outcome

log = logging.getLogger(__name__)

Row = TypeVar("Row")
Query = str | ComposedStatement
"""What a transaction runs: a named statement's address, or a composed one."""
Line = bytes | bytearray | memoryview
"""What COPY gives: one row."""
STREAM_CHUNK = 2_000
"""Rows that a streamed read fetches at a time."""
CANCEL_SECONDS = 5
"""How long to try to cancel a statement. After that its connection is closed without."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """The firms that one transaction may see.

    Where the role bypasses row-level security one tenant holds every firm of the run, so that statements are
    set-based; where it does not, there is one tenant per firm and `guard` is that firm's id.
    """

    firm_ids: tuple[int, ...]
    guard: int | None = None


class Tenants(Sequence[Tenant]):
    """The tenants that cover a run's firms; each firm belongs to exactly one."""

    def __init__(self, tenants: Iterable[Tenant]) -> None:
        self._tenants = tuple(tenants)
        self._of_firm = {firm_id: tenant for tenant in self._tenants for firm_id in tenant.firm_ids}

    @overload
    def __getitem__(self, index: int) -> Tenant: ...

    @overload
    def __getitem__(self, index: slice) -> Tenants: ...

    def __getitem__(self, index: int | slice) -> Tenant | Tenants:
        """Give a tenant by its position, or some of them."""
        return Tenants(self._tenants[index]) if isinstance(index, slice) else self._tenants[index]

    def __len__(self) -> int:
        return len(self._tenants)

    def of(self, firm_id: int) -> Tenant:
        """Give the tenant that a firm belongs to.

        :raises KeyError: when none of these tenants covers the firm.
        """
        return self._of_firm[firm_id]

    @property
    def firm_ids(self) -> list[int]:
        """Every firm that these tenants cover."""
        return list(self._of_firm)


@contextmanager
def transaction(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Open a transaction, or a savepoint in an open one. An interrupted one leaves nothing at the server.

    :raises CpOpsError: for what the driver raises, also at COMMIT, where deferred constraints are checked.
    """
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
    if connection.closed or connection.info.transaction_status is not TransactionStatus.ACTIVE:
        return
    try:
        connection.cancel_safe(timeout=CANCEL_SECONDS)
    except Exception as error:  # noqa: BLE001 - what interrupted it matters more
        log.warning("the interrupted statement could not be cancelled: %s", type(error).__name__)
    connection.close()


def _interruption(error: BaseException) -> BaseException | None:
    """Give the timeout, or whatever is no error of a program, that a driver's error came after and would hide."""
    # psycopg raises its own error while the timeout passes through it, and Python keeps the timeout as the context.
    context = error.__context__
    while context is not None and (isinstance(context, Exception | GeneratorExit)):
        context = context.__context__
    return context


class Transaction:
    """One open transaction. Every statement is named, bound, counted, and fails without printing values.

    :param file: the statements that bare names mean, such as ``finance/charges``.
    :param identifiers: names of tables and columns that this file's statements leave open, as ``{payments}``: those of
        a deployment that swapped a model. They are quoted, never formatted in.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        file: str,
        outcome: Outcome,
        identifiers: Mapping[str, str] | None = None,
    ) -> None:
        self.connection = connection
        self._file = file
        self._outcome = outcome
        self._identifiers = dict(identifiers or {})

    def execute(self, query: Query, /, **params: Any) -> int:
        """Run a statement and give the number of rows that it touched."""
        with self._running(query) as text, self.connection.cursor() as cursor:
            return cursor.execute(text, params).rowcount

    @overload
    def rows(self, query: Query, /, **params: Any) -> list[dict[str, Any]]: ...

    @overload
    def rows(self, query: Query, row: Callable[..., Row], /, **params: Any) -> list[Row]: ...

    def rows(self, query: Query, row: Callable[..., Any] | None = None, /, **params: Any) -> list[Any]:
        """Run a query and give all of its rows.

        :param row: builds a row from the columns as keywords, such as a dataclass; a dict when not given.
        """
        with self._running(query) as text, self.connection.cursor(row_factory=_factory(row)) as cursor:
            cursor.execute(text, params)
            return cursor.fetchall()

    @overload
    def one(self, query: Query, /, **params: Any) -> dict[str, Any] | None: ...

    @overload
    def one(self, query: Query, row: Callable[..., Row], /, **params: Any) -> Row | None: ...

    def one(self, query: Query, row: Callable[..., Any] | None = None, /, **params: Any) -> Any:
        """Run a query and give its first row, or None."""
        found = self.rows(query, row, **params) if row else self.rows(query, **params)
        return found[0] if found else None

    def count(self, query: Query, /, **params: Any) -> int:
        """Run a query for a number: the column ``rows`` of its only row."""
        (row,) = self.rows(query, **params)
        return int(row["rows"])

    @overload
    def stream(self, query: Query, /, **params: Any) -> Iterator[dict[str, Any]]: ...

    @overload
    def stream(self, query: Query, row: Callable[..., Row], /, **params: Any) -> Iterator[Row]: ...

    def stream(self, query: Query, row: Callable[..., Any] | None = None, /, **params: Any) -> Iterator[Any]:
        """Run a query and read its rows as they come, at constant memory."""
        with (
            self._running(query) as text,
            # A named cursor lives at the server, so that the rows come in chunks. Each needs a name of its own.
            self.connection.cursor(
                name=f"cp_ops_{self._outcome.statements}", row_factory=_factory(row)
            ) as cursor,
        ):
            cursor.itersize = STREAM_CHUNK
            cursor.execute(text, params)
            yield from cursor

    def copy(self, query: Query, rows: Iterable[Sequence[Any]], /) -> int:
        """Write rows by COPY and give their number. The statement is a ``COPY ... FROM STDIN``."""
        count = 0
        with (
            self._running(query) as text,
            self.connection.cursor() as cursor,
            cursor.copy(text) as copy,
        ):
            for values in rows:
                copy.write_row(values)
                count += 1
        return count

    def lines(self, query: Query, /, **params: Any) -> Iterator[Line]:
        """Read rows by COPY as they come. The statement is a ``COPY ... TO STDOUT``."""
        with (
            self._running(query) as text,
            self.connection.cursor() as cursor,
            cursor.copy(text, params) as copy,
        ):
            yield from copy

    def as_firm(self, firm_id: int) -> None:
        """See this firm's rows until the transaction ends, where row-level security is on."""
        self.execute("runtime/set_current_firm", firm_id=firm_id)

    @contextmanager
    def _running(self, query: Query) -> Iterator[bytes | sql.Composed]:
        """Count a statement, give its text, and translate what the driver raises while it runs."""
        doing, text = self._resolved(query)
        self._outcome.statements += 1
        with translated(doing):
            yield text

    def _resolved(self, query: Query) -> tuple[str, bytes | sql.Composed]:
        if isinstance(query, ComposedStatement):
            return query.doing, query.query
        statement = statement_at(query, home=self._file)
        # A `{place}` is one in the job's own file only. Other files may hold braces that mean something else, such as JSON.
        if not self._identifiers or statement.file != self._file:
            return str(statement), statement.text.encode()
        names = {place: sql.Identifier(name) for place, name in self._identifiers.items()}
        return str(statement), sql.SQL(statement.text).format(**names)


def _factory(row: Callable[..., Any] | None) -> Any:
    return kwargs_row(row) if row else dict_row
