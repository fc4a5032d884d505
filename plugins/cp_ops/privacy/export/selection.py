"""Which rows and columns of each table belong into a person's export: SQL composed from the personal-data map."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cp_ops.privacy.firm_scope import rows_of_a_persons_firms
from cp_ops.privacy.personal_data import EMAIL, Export, MappedTable, Role
from cp_ops.runtime.statements import template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg import sql

    from cp_ops.privacy.catalogue import Catalogue, CatalogueTable

SECRET_NAME = re.compile(
    r"password|secret|token|private_key|credential|api_?key|encrypted|otp|_hash$|^hash$|session_data|^key$"
)
"""Columns that are never exported, also where the map does not list them."""
NEVER_FORMULAS = frozenset(
    (
        *(
            "smallint",
            "integer",
            "bigint",
            "numeric",
            "real",
            "double precision",
            "boolean",
            "uuid",
            "inet",
            "cidr",
        ),
        *("date", "timestamp with time zone", "timestamp without time zone", "json", "jsonb", "bytea"),
    )
)
"""Types whose text a spreadsheet never takes for a formula, or that would be spoiled by an escape."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""https://owasp.org/www-community/attacks/CSV_Injection"""


@dataclass(frozen=True)
class Person:
    """The ids under which the database knows one user.

    :ivar ids: subject to ids: user, membership, portal_user, client, contact.
    :ivar firm_ids: the firms of the memberships and of the clients.
    :ivar emails: the user's own addresses in lower case, without those that another account bears, too.
    """

    user_id: int
    ids: Mapping[str, tuple[int, ...]]
    firm_ids: tuple[int, ...] = ()
    emails: tuple[str, ...] = ()

    def params(self) -> dict[str, Any]:
        """Give the bound values of the composed statements."""
        return {
            **{subject: list(ids) for subject, ids in self.ids.items()},
            "user_id": self.user_id,
            "firm_ids": list(self.firm_ids),
            "emails": list(self.emails),
        }


@dataclass(frozen=True)
class Selection:
    """What of one table goes into the export.

    :ivar columns: as they are shown; a value that is somebody else's is NULL there.
    :ivar condition: which rows; None when the map gives no row of this table to anybody.
    :ivar authored: columns by which the user did something to a row.
    :ivar withheld: columns that are in no export.
    :ivar guarded: the condition looks at rows that row-level security hides: it is asked firm by firm.
    """

    table: CatalogueTable
    columns: Mapping[str, sql.Composable]
    condition: sql.Composable | None
    authored: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    guarded: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)

    def count(self) -> sql.Composed:
        """How many rows."""
        return template("privacy/export/count_rows", **self._places())

    def count_references(self) -> sql.Composed:
        """How many references."""
        from psycopg import sql

        return template(
            "privacy/export/count_references",
            sum=sql.SQL(" + ").join(
                template(
                    "privacy/export/count_references_by",
                    table=sql.Identifier(self.table.name),
                    column=sql.Identifier(column),
                )
                for column in self.authored
            ),
        )

    def as_json(self) -> sql.Composed:
        """Give the rows as JSON Lines."""
        return template("privacy/export/rows_as_json", columns=_listed(self.columns), **self._places())

    def as_csv(self, *, header: bool) -> sql.Composed:
        """Give the rows as CSV, the header before the first of several statements only."""
        from psycopg import sql

        columns = {
            name: value if self.table.columns[name] in NEVER_FORMULAS else harmless(value)
            for name, value in self.columns.items()
        }
        return template(
            "privacy/export/rows_as_csv",
            columns=_listed(columns),
            header=sql.Literal(header),
            **self._places(),
        )

    def references(self) -> Iterator[sql.Composed]:
        """Give the queries for the references, one per column."""
        from psycopg import sql

        at = next((name for name in ("created_at", "timestamp", "date") if name in self.table.columns), None)
        for column in self.authored:
            yield template(
                "privacy/export/references_query",
                table=sql.Identifier(self.table.name),
                table_name=sql.Literal(self.table.name),
                key=sql.Identifier(self.table.primary_key),
                column=sql.Identifier(column),
                column_name=sql.Literal(column),
                at=sql.SQL("{}::timestamptz").format(sql.Identifier(at))
                if at
                else sql.SQL("NULL::timestamptz"),
            )

    def _places(self) -> dict[str, sql.Composable]:
        from psycopg import sql

        assert self.condition is not None
        return {
            "table": sql.Identifier(self.table.name),
            "key": sql.Identifier(self.table.primary_key),
            "condition": self.condition,
        }


class Selector:
    """Composes the selections of one person's export.

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

    def selection(self, name: str) -> Selection:
        """Compose what of a table goes into the export."""
        entry, table = self._present[name]
        columns: dict[str, sql.Composable] = {}
        withheld: list[str] = []
        for column in table.columns:
            shown = self._shown(entry, table, column)
            if shown is None:
                withheld.append(column)
            else:
                columns[column] = shown
        authored = tuple(
            column
            for column, key in entry.keys.items()
            if key.export is Export.REFERENCE and key.role is Role.AUTHOR
        )
        followed = [parent.table for parent in entry.parents.values() if parent.export is Export.ROWS]
        return Selection(
            table,
            columns,
            self._condition(name),
            authored,
            tuple(withheld),
            guarded=table.guarded or any(self._present[parent][1].guarded for parent in followed),
        )

    def _condition(self, name: str) -> sql.Composable | None:
        from psycopg import sql

        entry, table = self._present[name]
        parts: list[sql.Composable] = []
        for column, key in entry.keys.items():
            if key.export is not Export.ROWS:
                continue
            part = self._names(name, column)
            for other, value in key.only.items():
                if other in table.columns:
                    part = sql.SQL("({} AND {} = {})").format(part, _column(other), sql.Literal(value))
            parts.append(part)
        for column, parent in entry.parents.items():
            if parent.export is Export.ROWS and (inner := self._condition(parent.table)) is not None:
                parts.append(
                    sql.SQL("{} IN (SELECT {} FROM {} AS line WHERE {})").format(
                        _column(column),
                        _column(self._present[parent.table][1].primary_key),
                        sql.Identifier(parent.table),
                        inner,
                    )
                )
        return sql.SQL("({})").format(sql.SQL(" OR ").join(parts)) if parts else None

    def _names(self, table: str, column: str) -> sql.Composable:
        """Tell whether a row names the person by this key."""
        from psycopg import sql

        entry, facts = self._present[table]
        key = entry.keys[column]
        if key.names == EMAIL:
            ids = self._by_address.get((table, column), [])
            return sql.SQL("{} = ANY({}::bigint[])").format(_column(facts.primary_key), sql.Literal(ids))
        return sql.SQL("{} = ANY({}::bigint[])").format(
            _column(column), sql.Literal(list(self._person.ids.get(key.names, ())))
        )

    def _shown(self, entry: MappedTable, table: CatalogueTable, column: str) -> sql.Composable | None:
        from psycopg import sql

        value = _column(column)
        treated, key = entry.columns.get(column), entry.keys.get(column)
        if treated is not None and not treated.export:
            return None
        if treated is None and key is None and SECRET_NAME.search(column):
            return None
        if key is None and (table.name, column) in self._unmapped:
            return None
        if treated is not None and treated.whose:
            own = [self._names(table.name, other) for other in treated.whose]
        elif key is not None and column != table.primary_key and not (key.names == EMAIL and treated):
            own = [self._names(table.name, column)]
        else:
            return value
        return sql.SQL("CASE WHEN {} THEN {} END").format(sql.SQL(" OR ").join(own), value)

    def by_address(self, name: str, column: str) -> sql.Composed | None:
        """Compose the search of a table by address; None when the table does not tell whose firm a row is."""
        from psycopg import sql

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


def harmless(value: sql.Composable) -> sql.Composable:
    """Put an apostrophe before text that a spreadsheet would take for a formula."""
    from psycopg import sql

    starts = sql.SQL(", ").join(sql.Literal(start) for start in FORMULA_STARTS)
    return sql.SQL(
        "CASE WHEN left(({0})::text, 1) IN ({1}) THEN '''' || ({0})::text ELSE ({0})::text END"
    ).format(value, starts)


def _column(name: str) -> sql.Composable:
    from psycopg import sql

    return sql.SQL("line.{}").format(sql.Identifier(name))


def _listed(columns: Mapping[str, sql.Composable]) -> sql.Composable:
    from psycopg import sql

    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(value, sql.Identifier(name)) for name, value in columns.items()
    )
