"""A row of any table: every required column gets some value, every required foreign key some row of the same firm."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    import psycopg

OLD = datetime(2010, 1, 1, tzinfo=UTC)
_numbers = itertools.count(1)

COLUMNS = """
SELECT attribute.attname, format_type(attribute.atttypid, NULL), attribute.atttypmod - 4,
       (SELECT link.confrelid::regclass::text FROM pg_constraint AS link
        WHERE link.conrelid = attribute.attrelid AND link.contype = 'f' AND link.conkey = ARRAY[attribute.attnum])
FROM pg_attribute AS attribute
WHERE attribute.attrelid = %s::regclass AND attribute.attnum > 0 AND NOT attribute.attisdropped
  AND attribute.attnotnull AND attribute.attidentity = ''
"""


class AnyRow:
    """Makes rows of one firm; a required key that is not given leads to a row that is made for it, once per table."""

    def __init__(self, owner: psycopg.Connection[Any], firm_id: int) -> None:
        self._owner = owner
        self._known: dict[str, Any] = {"firm_firm": firm_id}

    def __call__(self, table: str, **given: Any) -> Any:
        """Insert a row and give its key."""
        row = dict(given)
        for name, kind, length, references in self._owner.execute(COLUMNS, [table]).fetchall():
            if name in row:
                continue
            row[name] = self.some(references) if references else _value(kind, length)
        key = self._owner.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", [table]
        ).fetchone()
        assert key is not None
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
            sql.Identifier(key[0]),
        )
        inserted = self._owner.execute(statement, list(row.values())).fetchone()
        assert inserted is not None
        return inserted[0]

    def some(self, table: str) -> Any:
        """Give a row of a table, always the same one."""
        if table not in self._known:
            self._known[table] = self(table)
        return self._known[table]


def _value(kind: str, length: int) -> Any:
    number = next(_numbers)
    match kind:
        case "character varying" | "text" | "character":
            return f"any {number}"[-length:] if 0 < length < 20 else f"any {number}"
        case "boolean":
            return False
        case "jsonb":
            return Jsonb({})
        case "uuid":
            return uuid.uuid4()
        case "timestamp with time zone" | "date":
            return OLD
        case _:
            return number % 9
