"""What a database holds, as text that can be compared: all of it, or one firm's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    import psycopg


def dump(owner: psycopg.Connection[Any], *, firm_id: int | None = None) -> dict[str, list[str]]:
    """Give every row of every table of the application, by table; with `firm_id` that firm's, by its column."""
    tables = owner.execute(
        "SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = %s"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname",
        ["firm_id" if firm_id is not None else "ctid"],
    ).fetchall()
    found: dict[str, list[str]] = {}
    for (table,) in tables:
        where = (
            sql.SQL("WHERE firm_id = {}").format(sql.Literal(firm_id)) if firm_id is not None else sql.SQL("")
        )
        query = sql.SQL("SELECT line::text FROM {} AS line {} ORDER BY 1").format(
            sql.Identifier(table), where
        )
        found[table] = [row[0] for row in owner.execute(query)]
    return found
