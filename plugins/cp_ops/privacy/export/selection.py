"""Which rows and columns of each table belong into a person's export: SQL composed from the personal-data map."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from psycopg import sql

from cp_ops.privacy.export.extract import TableExtract
from cp_ops.privacy.firm_scope import rows_of_a_persons_firms
from cp_ops.privacy.personal_data import EMAIL, Export, MappedTable, Role
from cp_ops.runtime.statements import template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cp_ops.privacy.catalogue import Catalogue, CatalogueTable
    from cp_ops.privacy.export.person import Person

SECRET_NAME = re.compile(
    r"password|secret|token|private_key|credential|api_?key|encrypted|otp|_hash$|^hash$|session_data|^key$"
)
"""Columns that are never exported, also where the map does not list them."""


class Selector:
    """Composes the extracts of one person's export.

    :param by_address: (table, column) to the keys of the rows that bear the person's address.
    """

    def __init__(
        self,
        present: Mapping[str, tuple[MappedTable, CatalogueTable]],
        catalogue: Catalogue,
        person: Person,
        by_address: Mapping[tuple[str, str], list[int]],
    ) -> None:
        self._present = present
        self._firm_scope = rows_of_a_persons_firms(present)
        self._person = person
        self._by_address = by_address
        self._unmapped = {
            (key.table, key.column)
            for key in catalogue.foreign_keys
            if key.references in ("auth_user", "clients_contact", "clients_portal_user")
        }

    def extract(self, name: str) -> TableExtract:
        """Compose what of a table goes into the export."""
        entry, table = self._present[name]
        withheld = tuple(column for column in table.columns if self._is_withheld(entry, table, column))
        authored = tuple(
            column
            for column, key in entry.keys.items()
            if key.export is Export.REFERENCE and key.role is Role.AUTHOR
        )
        followed = [parent.table for parent in entry.parents.values() if parent.export is Export.ROWS]
        return TableExtract(
            table,
            {column: self._shown(entry, table, column) for column in table.columns if column not in withheld},
            self._condition(name),
            authored,
            withheld,
            guarded=table.guarded or any(self._present[parent][1].guarded for parent in followed),
        )

    def _condition(self, name: str) -> sql.Composable | None:
        """Compose which rows are the person's; None when the map gives no row of the table to anybody."""
        parts = [*self._by_keys(name), *self._by_parents(name)]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(parts)) if parts else None

    def _by_keys(self, name: str) -> Iterator[sql.Composable]:
        """Compose, for each key that leads to whole rows, which rows it leads to."""
        entry, table = self._present[name]
        for column, key in entry.keys.items():
            if key.export is Export.ROWS:
                part = self._names(name, column)
                # A client sees some of its documents and folders; the others are the firm's own, about the client.
                for other, value in key.only.items():
                    if other in table.columns:
                        part = sql.SQL("({} AND {} = {})").format(part, _column(other), sql.Literal(value))
                yield part

    def _by_parents(self, name: str) -> Iterator[sql.Composable]:
        """Compose, for each parent whose rows are exported with their parts, which rows are parts."""
        entry, _ = self._present[name]
        for column, parent in entry.parents.items():
            if parent.export is Export.ROWS and (inner := self._condition(parent.table)) is not None:
                yield sql.SQL("{} IN (SELECT {} FROM {} AS line WHERE {})").format(
                    _column(column),
                    _column(self._present[parent.table][1].primary_key),
                    sql.Identifier(parent.table),
                    inner,
                )

    def _names(self, table: str, column: str) -> sql.Composable:
        """Tell whether a row names the person by this key."""
        entry, facts = self._present[table]
        key = entry.keys[column]
        if key.names == EMAIL:
            # Searched once, in the person's own firms: the condition itself would find the address in every firm.
            ids = self._by_address.get((table, column), [])
            return sql.SQL("{} = ANY({}::bigint[])").format(_column(facts.primary_key), sql.Literal(ids))
        return sql.SQL("{} = ANY({}::bigint[])").format(
            _column(column), sql.Literal(list(self._person.ids.get(key.names, ())))
        )

    def _is_withheld(self, entry: MappedTable, table: CatalogueTable, column: str) -> bool:
        """Tell whether a column is in no export: a secret, other people's data, or what nobody has looked at."""
        treated, key = entry.columns.get(column), entry.keys.get(column)
        if treated is not None and not treated.export:
            return True
        if key is not None:
            return False
        is_secret = treated is None and SECRET_NAME.search(column) is not None
        # A key to a person that the map does not know would tell who somebody else is.
        return is_secret or (table.name, column) in self._unmapped

    def _shown(self, entry: MappedTable, table: CatalogueTable, column: str) -> sql.Composable:
        """Compose a column as it is shown: NULL in rows where its value is somebody else's."""
        value = _column(column)
        own = [self._names(table.name, key) for key in _whose(entry, table, column)]
        if not own:
            return value
        return sql.SQL("CASE WHEN {} THEN {} END").format(sql.SQL(" OR ").join(own), value)

    def by_address(self, name: str, column: str) -> sql.Composed | None:
        """Compose the search of a table by address; None when the table does not tell whose firm a row is."""
        scope = self._firm_scope.condition(name)
        if scope is None:
            return None
        return template(
            "privacy/export/keys_by_address",
            table=sql.Identifier(name),
            key=_column(self._present[name][1].primary_key),
            column=_column(column),
            scope=scope,
        )

    def scope_is_guarded(self, name: str) -> bool:
        """Tell whether the search by address looks at rows that row-level security hides."""
        entry, table = self._present[name]
        return table.guarded or any(self.scope_is_guarded(parent.table) for parent in entry.parents.values())


def _whose(entry: MappedTable, table: CatalogueTable, column: str) -> tuple[str, ...]:
    """Give the keys of which one must name the person for a column to be shown; () shows it in every row."""
    treated, key = entry.columns.get(column), entry.keys.get(column)
    if treated is not None and treated.whose:
        return treated.whose
    # A key names somebody, perhaps a colleague: who approved an hour is not the datum of the one who worked it. An
    # address is a key that can be a value of its own, which the map then treats as a column.
    is_treated_address = key is not None and key.names == EMAIL and treated is not None
    if key is None or column == table.primary_key or is_treated_address:
        return ()
    return (column,)


def _column(name: str) -> sql.Composable:
    return sql.SQL("line.{}").format(sql.Identifier(name))
