"""What the erasure does not reach: every text and JSON column of the firm is searched for the identifiers.

Before the approval, for what would be left; after the erasure, for what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from psycopg import sql

from cp_ops.privacy.erasure.identifiers import PHONE
from cp_ops.privacy.erasure.needles import addresses_in_text, any_within, names_in_text, numbers_in_text
from cp_ops.privacy.personal_data import Erasure
from cp_ops.runtime.findings import Finding, Severity
from cp_ops.runtime.statements import ComposedStatement, template

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cp_ops.privacy.catalogue import CatalogueTable
    from cp_ops.privacy.erasure.covered import CoveredRows, Spared
    from cp_ops.privacy.erasure.entity import RequestedEntity
    from cp_ops.privacy.erasure.needles import Needles
    from cp_ops.privacy.personal_data import PersonalColumn
    from cp_ops.runtime.database import Transaction

SEARCHED = frozenset(
    {"text", "character varying", "character", "jsonb", "json", "text[]", "character varying[]"}
)
"""Types whose values can hold an address, a number or a name."""


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


@dataclass(frozen=True, slots=True)
class _Hits:
    """A count of the search: the rows in which a column holds an identifier, or a name."""

    alias: str
    column: str
    is_name: bool
    condition: sql.Composable


class RemainsFinding(StrEnum):
    """The findings of the search."""

    IDENTIFIER = "identifier_remains"
    NAME = "name_is_mentioned"


TELLS = {
    RemainsFinding.IDENTIFIER: (
        Severity.CRITICAL,
        "Remove the address or number from these rows in the application, then execute the request again",
    ),
    RemainsFinding.NAME: (
        Severity.WARNING,
        "Look whether these rows mean the erased person or a namesake",
    ),
}


def finding(kind: RemainsFinding, hit: Remains, entity: RequestedEntity) -> Finding:
    """Tell a person where to look; the subject says where, and never what was found there."""
    severity, action = TELLS[kind]
    subject = f"{entity}:{hit.table}.{hit.column}"
    return Finding(kind, subject, severity, action, entity.firm_id, {"rows": hit.rows})


def is_somebodys_number(name: str, column: PersonalColumn) -> bool:
    """Tell whether a column is the telephone number of the person whom its row is about.

    Colleagues often share a switchboard number, so the same number in another person's own phone column is not a
    leftover.
    """
    return column.why == "identity" and PHONE.search(name) is not None


class FirmSearch:
    """Searches a firm's rows, column by column, except what the map keeps for a legal reason."""

    def __init__(self, covered: CoveredRows) -> None:
        self._map, self._catalogue, self._firm_scope = covered.mapped, covered.catalogue, covered.firm_scope
        self._addresses = addresses_in_text(covered.identifiers.addresses)
        self._numbers = numbers_in_text(covered.identifiers.phones)
        self._names = names_in_text(covered.identifiers.names)

    def everywhere(self, tx: Transaction, spared: Spared) -> Searched:
        """Search the firm's rows.

        :param spared: values that are erased later.
        """
        # A table from which no key leads to a firm is left out: what stands there may be any firm's.
        tables = {
            name: scope
            for name in self._catalogue.tables
            if (scope := self._firm_scope.condition(name)) is not None
        }
        return self._search(tx, tables, spared)

    def selected(self, tx: Transaction, tables: Collection[str]) -> Searched:
        """Search the selected rows of some tables."""
        return self._search(
            tx, {name: self._is_selected(self._catalogue.tables[name]) for name in tables}, {}
        )

    def _search(self, tx: Transaction, tables: Mapping[str, sql.Composable], spared: Spared) -> Searched:
        remains: list[Remains] = []
        named: list[Remains] = []
        searched = columns_searched = 0
        for name, scope in tables.items():
            table = self._catalogue.tables[name]
            columns = self._columns(table)
            hits = self._hits(table, columns, spared.get(name, {}))
            if not hits:
                continue
            searched, columns_searched = searched + 1, columns_searched + len(columns)
            rows = self._counted(tx, name, scope, hits)
            for hit in hits:
                if rows[hit.alias]:
                    # An address or a number left stops the erasure; a name may be a namesake's and is only shown.
                    (named if hit.is_name else remains).append(Remains(name, hit.column, rows[hit.alias]))
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

    def _hits(
        self,
        table: CatalogueTable,
        columns: Mapping[str, list[Needles]],
        spared: Mapping[str, list[str]],
    ) -> list[_Hits]:
        """Say what to count in a table: per column the identifiers, and the names."""
        hits: list[_Hits] = []
        for position, (column, identifying) in enumerate(columns.items()):
            found = any_within(column, identifying)
            if found is not None:
                condition = self._unless_spared(found, table, spared.get(column))
                hits.append(_Hits(f"left_{position}", column, is_name=False, condition=condition))
            found = any_within(column, [self._names])
            if found is not None:
                condition = self._unless_spared(found, table, spared.get(column))
                hits.append(_Hits(f"named_{position}", column, is_name=True, condition=condition))
        return hits

    def _unless_spared(
        self, found: sql.Composable, table: CatalogueTable, vias: Collection[str] | None
    ) -> sql.Composable:
        # What a later step takes away is there on purpose: only a value that nothing takes away is a leftover.
        if not vias:
            return found
        return sql.SQL("({} AND NOT {})").format(found, self._is_selected(table, vias))

    def _counted(
        self, tx: Transaction, name: str, scope: sql.Composable, hits: Sequence[_Hits]
    ) -> dict[str, int]:
        # One pass over a table counts all of its columns: some of these tables are the largest that there are.
        query = template(
            "privacy/erasure/search_table",
            table=sql.Identifier(name),
            scope=scope,
            any=sql.SQL(" OR ").join(hit.condition for hit in hits),
            counts=sql.SQL(", ").join(
                sql.SQL("count(*) FILTER (WHERE {}) AS {}").format(hit.condition, sql.Identifier(hit.alias))
                for hit in hits
            ),
        )
        (row,) = tx.rows(
            ComposedStatement(f"searching {name}", query),
            **self._addresses.params,
            **self._numbers.params,
            **self._names.params,
        )
        return row

    def _is_selected(self, table: CatalogueTable, vias: Collection[str] | None = None) -> sql.Composable:
        by_these = (
            sql.SQL("true") if vias is None else sql.SQL("via = ANY({})").format(sql.Literal(sorted(vias)))
        )
        return template(
            "privacy/erasure/is_selected",
            key=sql.Identifier(table.primary_key),
            key_type=sql.SQL(table.columns[table.primary_key]),
            table_name=sql.Literal(table.name),
            vias=by_these,
        )
