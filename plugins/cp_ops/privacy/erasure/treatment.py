"""What stands in a column after the erasure: expressions that say nothing, and are recognised by a second run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from cp_ops.privacy.personal_data import Erasure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cp_ops.privacy.catalogue import CatalogueTable
    from cp_ops.privacy.personal_data import PersonalColumn

TEXT = frozenset({"text", "character varying", "character"})
JSON = frozenset({"jsonb", "json"})
EMPTY_VALUES = {
    "inet": "0.0.0.0",  # noqa: S104 - not an address to listen on
    "cidr": "0.0.0.0/32",
    "numeric": "0",
    "double precision": "0",
    "real": "0",
    "integer": "0",
    "bigint": "0",
    "boolean": "false",
    "bytea": "",
}
"""What a NOT NULL column of a type is emptied to."""
MAIL_DOMAIN = "erased.invalid"
"""RFC 2606: mail to it goes nowhere."""


@dataclass(frozen=True)
class TreatedColumn:
    """A column of a table, and how the erasure treats it.

    :param size: the longest text that it takes.
    """

    name: str
    type: str
    required: bool
    treatment: Erasure
    why: str
    size: int | None = None

    def stand_in(self, table: CatalogueTable) -> sql.Composable:
        """Give the value that replaces the column's."""
        # It hangs on the row's own key: unique where the column must be, and the same in a second run, which then finds
        # nothing left to do.
        key = sql.SQL("line.{}").format(sql.Identifier(table.primary_key))
        kind = sql.SQL(self.type)
        if self.type == "uuid" and (self.required or self.treatment is Erasure.PSEUDONYMISE):
            return sql.SQL("overlay(md5({})::text placing '00000000' from 1 for 8)::uuid").format(
                sql.SQL("{}::text").format(key)
            )
        if self.type in TEXT:
            text = self._text(key) if self.treatment is Erasure.PSEUDONYMISE else self._empty_text()
            # A stand-in that the column is too short for would fail its batch, and with it the erasure.
            return sql.SQL("left({}, {})::{}").format(text, sql.Literal(self.size or 10_000), kind)
        if self.type in JSON:
            # A list stays a list, as the application goes through it.
            return sql.SQL(
                "CASE WHEN {column} IS NULL THEN NULL WHEN jsonb_typeof({column}::jsonb) = 'array' THEN '[]' ELSE '{{}}'"
                " END::{kind}"
            ).format(column=_column(self.name), kind=kind)
        if not self.required:
            return sql.SQL("NULL::{}").format(kind)
        if self.type.endswith("[]"):
            return sql.SQL("'{{}}'::{}").format(kind)
        return sql.SQL("{}::{}").format(sql.Literal(EMPTY_VALUES[self.type]), kind)

    def differs(self, table: CatalogueTable) -> sql.Composable:
        """Tell whether the column still holds something to erase; what is empty holds nothing."""
        column = _column(self.name)
        # As text, since json and some other types have no equality.
        changed = sql.SQL("{}::text IS DISTINCT FROM ({})::text").format(column, self.stand_in(table))
        if self.type in TEXT:
            return sql.SQL("({} <> '' AND {})").format(column, changed)
        return sql.SQL("({} IS NOT NULL AND {})").format(column, changed)

    def _text(self, key: sql.Composable) -> sql.Composable:
        if "email" in self.name or self.name.endswith("_address"):
            return sql.SQL("'erased-' || {} || {}").format(key, sql.Literal(f"@{MAIL_DOMAIN}"))
        if self.name.endswith("name") and self.name != "username":
            return sql.SQL("'Erased ' || {}").format(key)
        return sql.SQL("'erased-' || {}").format(key)

    def _empty_text(self) -> sql.Composable:
        return sql.SQL("''") if self.required else sql.SQL("NULL::text")


def treated_columns(
    table: CatalogueTable, columns: Mapping[str, PersonalColumn], sizes: Mapping[tuple[str, str], int]
) -> list[TreatedColumn]:
    """Describe a table's erasable columns as the connected database has them."""
    return [
        TreatedColumn(
            name,
            table.columns[name],
            name in table.required,
            column.erasure,
            column.why,
            sizes.get((table.name, name)),
        )
        for name, column in columns.items()
    ]


def _column(name: str) -> sql.Composable:
    return sql.SQL("line.{}").format(sql.Identifier(name))
