"""The catalogue of the connected database: which tables, columns and foreign keys this deployment has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cp_ops.runtime.database import Transaction


@dataclass(frozen=True, slots=True, order=True)
class ForeignKey:
    """A foreign key of the connected database."""

    table: str
    column: str
    references: str

    def __str__(self) -> str:
        return f"{self.table}.{self.column} -> {self.references}"


@dataclass(frozen=True)
class CatalogueTable:
    """A table of the connected database.

    :ivar columns: name to type as PostgreSQL writes it, in the table's order.
    :ivar required: columns that are NOT NULL.
    :ivar guarded: row-level security applies to the connection's role.
    """

    name: str
    columns: Mapping[str, str]
    primary_key: str
    required: frozenset[str] = frozenset()
    guarded: bool = False


@dataclass(frozen=True)
class Catalogue:
    """The tables of the connected database and their foreign keys."""

    tables: Mapping[str, CatalogueTable]
    foreign_keys: tuple[ForeignKey, ...] = field(default=())


def read_catalogue(tx: Transaction) -> Catalogue:
    """Read the tables and foreign keys of the connected database that the role can see."""
    tables = {
        row["table_name"]: CatalogueTable(
            row["table_name"],
            dict(zip(row["columns"], row["types"], strict=True)),
            row["primary_key"],
            frozenset(row["required"]),
            row["guarded"],
        )
        for row in tx.rows("privacy/catalogue/catalogue_tables")
    }
    keys = tuple(tx.rows("privacy/catalogue/catalogue_foreign_keys", ForeignKey))
    return Catalogue(tables, keys)
