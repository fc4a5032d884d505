"""Writing rows as the application does: it fills what an INSERT does not say, the database never does."""

from __future__ import annotations

import itertools
import random
import tomllib
import uuid
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self
from zoneinfo import ZoneInfo

from psycopg import Connection, sql
from psycopg.rows import dict_row, scalar_row
from psycopg.types.json import Jsonb

from sandbox.world.encryption import LocalKms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PRIMARY_KEYS = {
    "calendar_appointments": "appointment_id",
    "calendar_appointment_types": "appointment_type_id",
    "django_session": "session_key",
}


@cache
def application_defaults() -> Mapping[str, Mapping[str, Any]]:
    """Return, per table, what the application writes by itself: see application_defaults.toml."""
    return tomllib.loads(Path(__file__).with_name("application_defaults.toml").read_text())


def filled(table: str, columns: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return a row's columns with the application's defaults added, JSON values wrapped for psycopg."""
    defaults = application_defaults().get(table, {})
    row: dict[str, Any] = dict.fromkeys(defaults.get("now", ()), now)
    row |= dict.fromkeys(defaults.get("blank", ()), "")
    row |= defaults.get("value", {})
    row |= columns
    return {name: stored(value) for name, value in row.items()}


def stored(value: Any) -> Any:
    """Return a value as psycopg takes it: dicts and lists are jsonb."""
    return Jsonb(value) if isinstance(value, dict | list) else value


class Rows:
    """A connection of the tables' owner, a clock and a source of chance: what every builder writes with.

    Rows are committed by the caller (at once, on an autocommit connection). With row-level security on,
    each row is written as its firm.
    """

    def __init__(
        self,
        conn: Connection[Any],
        *,
        now: datetime | None = None,
        seed: int | None = None,
        kms: LocalKms | None = None,
    ) -> None:
        self.conn = conn
        self.now: datetime = now or self.scalar("SELECT now()")
        self.random = random.Random(seed)
        self.kms = kms or LocalKms.from_environment()
        self.isolated = bool(
            self.scalar(
                "SELECT c.relforcerowsecurity AND NOT r.rolbypassrls AND NOT r.rolsuper"
                " FROM pg_class AS c, pg_roles AS r"
                " WHERE c.oid = 'clients_client'::regclass AND r.rolname = current_user"
            )
        )
        # Names made up by a second world in the same database must not collide with those of the first.
        firms: int = self.scalar("SELECT coalesce(max(id), 0) FROM firm_firm")
        self._serial = itertools.count(1 + 10_000 * firms)

    def serial(self) -> int:
        """Return a number that no other made-up name of this database bears."""
        return next(self._serial)

    def uuid(self) -> uuid.UUID:
        """Return a random UUID that the seed decides."""
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    def ago(self, **span: float) -> datetime:
        """Return the time `span` (as for timedelta) before the world's now."""
        return self.now - timedelta(**span)

    def scalar(self, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """Return the first column of the first row, None without a row."""
        with self.conn.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(statement, parameters).fetchone()

    def insert(self, table: str, **columns: Any) -> Any:
        """Insert one row, with the application's defaults for what is not given, and return its key."""
        self.enter(columns.get("firm_id"))
        row = filled(table, columns, self.now)
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
            sql.Identifier(PRIMARY_KEYS.get(table, "id")),
        )
        with self.conn.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(statement, list(row.values())).fetchone()

    def copy(self, table: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Insert many rows that name the same columns by COPY and return their number; keys stay unknown.

        PostgreSQL refuses COPY where row-level security holds for the connection's role.
        """
        rows = iter(rows)
        first = next(rows, None)
        if first is None:
            return 0
        self.enter(first.get("firm_id"))
        names = tuple(filled(table, first, self.now))
        defaults = {name: value for name, value in filled(table, {}, self.now).items() if name not in first}
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names))
        )
        count = 0
        with self.conn.cursor() as cursor, cursor.copy(statement) as copy:
            for columns in itertools.chain((first,), rows):
                row = {**defaults, **columns}
                copy.write_row([stored(row[name]) for name in names])
                count += 1
        return count

    def generate(
        self, table: str, count: int, columns: Mapping[str, Any], varying: Mapping[str, sql.Composable]
    ) -> None:
        """Insert `count` rows in one statement: as `insert` would write `columns`, but for the varying ones.

        Those are SQL over `number`, which runs from 0.
        """
        self.enter(columns.get("firm_id"))
        values: dict[str, sql.Composable] = {
            name: sql.Literal(value) for name, value in filled(table, columns, self.now).items()
        }
        values |= varying
        statement = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM generate_series(0, {}) AS number").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(values.values()),
            sql.Literal(count - 1),
        )
        self.conn.execute(statement)

    def reserve(self, table: str, count: int) -> list[int]:
        """Take `count` keys of a table, for rows that are written by COPY and referred to by others."""
        key = PRIMARY_KEYS.get(table, "id")
        cursor = self.conn.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)", (table, key, count)
        )
        return [row[0] for row in cursor]

    def enter(self, firm_id: int | None) -> None:
        """With row-level security on, make the session this firm's."""
        if self.isolated and firm_id is not None:
            self.conn.execute("SELECT set_config('app.current_firm_id', %s, false)", [str(firm_id)])


@dataclass(frozen=True)
class Scope:
    """The firm that a row belongs to, as far as writing its rows needs it."""

    firm_id: int
    timezone: str
    currency: str
    kms_key_id: str


class Record:
    """A row that a builder wrote: its key, and what it takes to read it again or to change it."""

    table: ClassVar[str]

    def __init__(self, world: Rows, key: int, scope: Scope | None = None) -> None:
        self.world = world
        self.id = key
        self._scope = scope

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id})"

    @property
    def scope(self) -> Scope:
        """Return the firm that the row belongs to; LookupError for a user, who belongs to none."""
        if self._scope is None:
            raise LookupError(f"{self!r} belongs to no firm")
        return self._scope

    def row(self) -> dict[str, Any]:
        """Return the row as it is now; LookupError if it is gone."""
        self._enter()
        statement = sql.SQL("SELECT * FROM {} WHERE {} = %s").format(*self._identity())
        with self.world.conn.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(statement, [self.id]).fetchone()
        if row is None:
            raise LookupError(f"{self.table} has no row {self.id}")
        return row

    def update(self, **columns: Any) -> Self:
        """Change columns behind the application's back (updated_at stays what it was)."""
        self._enter()
        table, key = self._identity()
        statement = sql.SQL("UPDATE {} SET {} WHERE {} = %s").format(
            table,
            sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in columns),
            key,
        )
        values = [stored(value) for value in columns.values()]
        if self.world.conn.execute(statement, [*values, self.id]).rowcount != 1:
            raise LookupError(f"{self.table} has no row {self.id}")
        return self

    def insert(self, table: str, **columns: Any) -> Any:
        """Insert a row of any table with a firm_id, for this row's firm, and return its key."""
        return self.world.insert(table, **{"firm_id": self.scope.firm_id} | columns)

    def day(self, offset: int = 0) -> date:
        """Return the date `offset` days after today (negative: before) where the firm is."""
        return self.world.now.astimezone(ZoneInfo(self.scope.timezone)).date() + timedelta(days=offset)

    def _enter(self) -> None:
        if self._scope is not None:
            self.world.enter(self._scope.firm_id)

    def _identity(self) -> tuple[sql.Identifier, sql.Identifier]:
        return sql.Identifier(self.table), sql.Identifier(PRIMARY_KEYS.get(self.table, "id"))
