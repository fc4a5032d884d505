"""After the erasure: is anything left? Every text and JSON column of the firm is searched for the identifiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.privacy.composed import ComposedStatements, template
from cp_ops.privacy.erasure_selection import PHONE
from cp_ops.privacy.personal_data import Erasure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cp_ops.privacy.erasure_selection import Selection
    from cp_ops.privacy.personal_data import Catalogue, Column, PersonalDataMap
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.outcome import Outcome

SEARCHED = frozenset(
    {"text", "character varying", "character", "jsonb", "json", "text[]", "character varying[]"}
)


@dataclass(frozen=True, slots=True)
class Remains:
    """A column in which an identifier is left, and in how many rows."""

    table: str
    column: str
    rows: int


@dataclass(frozen=True)
class Searched:
    """How far the search went, and what it found."""

    tables: int
    columns: int
    remains: tuple[Remains, ...]


def patterns(needles: Iterable[str]) -> list[str]:
    """Turn identifiers into LIKE patterns."""
    return sorted(
        f"%{needle.replace(chr(92), chr(92) * 2).replace('%', chr(92) + '%').replace('_', chr(92) + '_')}%"
        for needle in needles
    )


def is_somebodys_number(name: str, column: Column) -> bool:
    """Tell whether a column holds its own row's person's number: colleagues share a switchboard, that is no remains."""
    return column.why == "identity" and PHONE.search(name) is not None


def search_firm(
    tx: Transaction,
    outcome: Outcome,
    mapped: PersonalDataMap,
    catalogue: Catalogue,
    selection: Selection,
    needles: Iterable[str],
    *,
    passing: Callable[[str, Column], bool] = lambda _, __: False,
) -> Searched:
    """Search the firm's rows, column by column, except what the map keeps for a legal reason.

    The selected persons' own rows are left out: they are erased last, by the transaction that follows.

    :param passing: names further columns of the map to leave out.
    """
    from psycopg import sql

    wanted = patterns(needles)
    run = ComposedStatements(tx, outcome)
    last = set(mapped.subjects.values())
    remains: list[Remains] = []
    tables = columns_searched = 0
    for name, table in catalogue.tables.items():
        scope = selection.firm_scope(name, strict=False)
        treated = mapped.tables[name].columns if name in mapped.tables else {}
        columns = [
            column
            for column, kind in table.columns.items()
            if kind in SEARCHED
            and not (
                column in treated
                and (treated[column].erasure is Erasure.KEEP or passing(column, treated[column]))
            )
        ]
        if scope is None or not columns or not wanted:
            continue
        hits = {
            column: sql.SQL("lower(line.{}::text) LIKE ANY(%(patterns)s)").format(sql.Identifier(column))
            for column in columns
        }
        (row,) = run.rows(
            f"searching {name}",
            template(
                "erasure",
                "search_table",
                table=sql.Identifier(name),
                table_name=sql.Literal(name),
                key=sql.Identifier(table.primary_key),
                scope=scope,
                skip=sql.Literal(name in last),
                any=sql.SQL(" OR ").join(hits.values()),
                counts=sql.SQL(", ").join(
                    sql.SQL("count(*) FILTER (WHERE {}) AS {}").format(hit, sql.Identifier(column))
                    for column, hit in hits.items()
                ),
            ),
            {"patterns": wanted},
        )
        tables, columns_searched = tables + 1, columns_searched + len(columns)
        remains += [Remains(name, column, rows) for column, rows in row.items() if rows]
    return Searched(tables, columns_searched, tuple(remains))
