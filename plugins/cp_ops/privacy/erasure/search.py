"""What the erasure does not reach: every text and JSON column of the firm is searched for the identifiers.

Before the approval, for what would be left; after the erasure, for what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.privacy.erasure.identifiers import PHONE
from cp_ops.privacy.erasure.needles import addresses_in_text, names_in_text, numbers_in_text
from cp_ops.privacy.personal_data import Erasure
from cp_ops.runtime.statements import ComposedStatement, template

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from psycopg import sql

    from cp_ops.privacy.catalogue import Catalogue, CatalogueTable
    from cp_ops.privacy.erasure.needles import Needles
    from cp_ops.privacy.erasure.selection import Selection
    from cp_ops.privacy.personal_data import PersonalColumn, PersonalDataMap
    from cp_ops.runtime.database import Transaction

SEARCHED = frozenset(
    {"text", "character varying", "character", "jsonb", "json", "text[]", "character varying[]"}
)

Spared = dict[str, dict[str, list[str]]]
"""Per table and column the keys through which selected rows lose the value: there it is not looked for."""


@dataclass(frozen=True, slots=True)
class Remains:
    """A column in which an identifier is left, and in how many rows."""

    table: str
    column: str
    rows: int


@dataclass(frozen=True)
class Searched:
    """How far the search went, and what it found.

    :ivar remains: where an address or a number is.
    :ivar named: where a name is: perhaps a namesake's.
    """

    tables: int
    columns: int
    remains: tuple[Remains, ...]
    named: tuple[Remains, ...]


def is_somebodys_number(name: str, column: PersonalColumn) -> bool:
    """Tell whether a column holds its own row's person's number: colleagues share a switchboard, that is no remains."""
    return column.why == "identity" and PHONE.search(name) is not None


class FirmSearch:
    """Searches a firm's rows, column by column, except what the map keeps for a legal reason."""

    def __init__(self, mapped: PersonalDataMap, catalogue: Catalogue, selection: Selection) -> None:
        self._map, self._catalogue, self._selection = mapped, catalogue, selection
        known = selection.identifiers
        self._addresses = addresses_in_text(known.addresses)
        self._numbers = numbers_in_text(known.phones)
        self._names = names_in_text(known.names)

    def everywhere(self, tx: Transaction, spared: Spared) -> Searched:
        """Search the firm's rows.

        :param spared: values that are erased later.
        """
        tables = {
            name: scope
            for name in self._catalogue.tables
            if (scope := self._selection.firm_scope.condition(name)) is not None
        }
        return self._search(tx, tables, spared)

    def selected(self, tx: Transaction, tables: Collection[str]) -> Searched:
        """Search the selected rows of some tables."""
        return self._search(
            tx, {name: self._is_selected(self._catalogue.tables[name]) for name in tables}, {}
        )

    def _search(self, tx: Transaction, tables: Mapping[str, sql.Composable], spared: Spared) -> Searched:
        from psycopg import sql

        remains: list[Remains] = []
        named: list[Remains] = []
        searched = columns_searched = 0
        for name, scope in tables.items():
            table = self._catalogue.tables[name]
            counted: dict[str, sql.Composable] = {}
            owners: dict[str, tuple[list[Remains], str]] = {}
            columns = self._columns(table)
            for position, (column, identifying) in enumerate(columns.items()):
                vias = spared.get(name, {}).get(column, [])
                for kind, needles, found in (("left", identifying, remains), ("named", [self._names], named)):
                    hits = [one.within(column) for one in needles if one.patterns]
                    if hits:
                        hit = sql.SQL("({})").format(sql.SQL(" OR ").join(hits))
                        if vias:
                            hit = sql.SQL("({} AND NOT {})").format(hit, self._is_selected(table, vias))
                        counted[f"{kind}_{position}"] = hit
                        owners[f"{kind}_{position}"] = (found, column)
            if not counted:
                continue
            (row,) = tx.rows(
                ComposedStatement(
                    f"searching {name}",
                    template(
                        "privacy/erasure/search_table",
                        table=sql.Identifier(name),
                        scope=scope,
                        any=sql.SQL(" OR ").join(counted.values()),
                        counts=sql.SQL(", ").join(
                            sql.SQL("count(*) FILTER (WHERE {}) AS {}").format(hit, sql.Identifier(alias))
                            for alias, hit in counted.items()
                        ),
                    ),
                ),
                **self._addresses.params,
                **self._numbers.params,
                **self._names.params,
            )
            searched, columns_searched = searched + 1, columns_searched + len(columns)
            for alias, rows in row.items():
                if rows:
                    found, column = owners[alias]
                    found.append(Remains(name, column, rows))
        return Searched(searched, columns_searched, tuple(remains), tuple(named))

    def _columns(self, table: CatalogueTable) -> dict[str, list[Needles]]:
        """Give the columns to search, each with what identifies a person there."""
        treated = self._map.tables[table.name].columns if table.name in self._map.tables else {}
        columns: dict[str, list[Needles]] = {}
        for column, kind in table.columns.items():
            entry = treated.get(column)
            if kind not in SEARCHED or (entry is not None and entry.erasure is Erasure.KEEP):
                continue
            theirs = entry is not None and is_somebodys_number(column, entry)
            columns[column] = [self._addresses] if theirs else [self._addresses, self._numbers]
        return columns

    def _is_selected(self, table: CatalogueTable, vias: Collection[str] | None = None) -> sql.Composable:
        from psycopg import sql

        return template(
            "privacy/erasure/is_selected",
            key=sql.Identifier(table.primary_key),
            key_type=sql.SQL(table.columns[table.primary_key]),
            table_name=sql.Literal(table.name),
            vias=sql.SQL("true")
            if vias is None
            else sql.SQL("via = ANY({})").format(sql.Literal(sorted(vias))),
        )
