"""The covered rows: what the preview, the execution and the search need to know about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from cp_ops.privacy.erasure.needles import addresses_in_text
from cp_ops.privacy.erasure.plan import grouped_columns
from cp_ops.privacy.erasure.treatment import treated_columns
from cp_ops.runtime.outbox import recipient_key

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from cp_ops.privacy.catalogue import Catalogue, CatalogueTable
    from cp_ops.privacy.erasure.identifiers import Identifiers
    from cp_ops.privacy.erasure.objects import StoredLocation
    from cp_ops.privacy.erasure.treatment import TreatedColumn
    from cp_ops.privacy.firm_scope import FirmScope
    from cp_ops.privacy.personal_data import PersonalDataMap
    from cp_ops.runtime.database import Transaction

Spared = dict[str, dict[str, list[str]]]
"""Per table and column the ways by which selected rows lose the value: there the search does not look for it."""


@dataclass(frozen=True)
class ColumnGroup:
    """Columns of a table that are erased in the same rows: those that were reached by one of `vias`."""

    table: CatalogueTable
    vias: tuple[str, ...]
    columns: Sequence[TreatedColumn]

    def differs(self) -> sql.Composable:
        """Tell whether any of the columns still holds something."""
        return sql.SQL(" OR ").join(column.differs(self.table) for column in self.columns)

    def counts(self) -> sql.Composable:
        """Count per column in how many rows it still holds something, under the names that `alias` gives."""
        return sql.SQL(", ").join(
            sql.SQL("count(*) FILTER (WHERE {}) AS {}").format(
                column.differs(self.table), sql.Identifier(self.alias(position))
            )
            for position, column in enumerate(self.columns)
        )

    @staticmethod
    def alias(position: int) -> str:
        """Name the count of a column."""
        return f"column_{position}"

    def assignments(self) -> sql.Composable:
        """Give what an UPDATE sets; a column that holds nothing stays as it is, byte for byte."""
        assigned: list[sql.Composable] = [
            sql.SQL("{name} = CASE WHEN {differs} THEN {stand_in} ELSE line.{name} END").format(
                name=sql.Identifier(column.name),
                differs=column.differs(self.table),
                stand_in=column.stand_in(self.table),
            )
            for column in self.columns
        ]
        if "updated_at" in self.table.columns:
            assigned.append(sql.SQL("updated_at = %(now)s"))
        return sql.SQL(", ").join(assigned)

    def places(self) -> dict[str, sql.Composable]:
        """Give what every template about these rows needs."""
        return {
            "table": sql.Identifier(self.table.name),
            "table_name": sql.Literal(self.table.name),
            "key": sql.Identifier(self.table.primary_key),
            "key_type": sql.SQL(self.table.columns[self.table.primary_key]),
            "differs": self.differs(),
        }


@dataclass(frozen=True)
class CoveredRows:
    """Everything that the later steps need to know about the rows in ``erasure_selection``.

    :ivar sizes: (table, column) to the longest text that it takes.
    :ivar locations: where the covered documents' objects are.
    """

    mapped: PersonalDataMap
    catalogue: Catalogue
    firm_scope: FirmScope
    identifiers: Identifiers
    sizes: Mapping[tuple[str, str], int]
    document_ids: Sequence[int]
    locations: Sequence[StoredLocation]

    @property
    def persons(self) -> frozenset[str]:
        """The tables that hold the persons' own rows."""
        return frozenset(self.mapped.subjects.values())

    @property
    def mail_params(self) -> dict[str, list[str]]:
        """What finds the outbox's mails to the person, and those that name the person's address."""
        addresses = self.identifiers.addresses
        return {
            "recipient_keys": sorted(recipient_key(address) for address in addresses),
            **addresses_in_text(addresses).params,
        }

    def groups(self, table: str, vias: set[str]) -> list[ColumnGroup]:
        """Group a selected table's erasable columns by the ways by which they are erased.

        :param vias: the ways by which rows of the table were reached.
        """
        facts = self.catalogue.tables[table]
        # A deployment may lack columns of the map, and have others that it does not treat.
        erasable = self.mapped.erasable(table, facts)
        grouped = grouped_columns(
            {name: column.whose for name, column in erasable.items()}, vias, self.mapped.passing(table)
        )
        return [
            ColumnGroup(
                facts, allowed, treated_columns(facts, {name: erasable[name] for name in names}, self.sizes)
            )
            for allowed, names in grouped.items()
        ]

    def spared(self, tx: Transaction, tables: Container[str]) -> Spared:
        """Give the values of these tables that the erasure takes away."""
        return {
            table: {
                column.name: list(group.vias)
                for group in self.groups(table, vias)
                for column in group.columns
            }
            for table, vias in selected_tables(tx).items()
            if table in tables
        }


def selected_tables(tx: Transaction) -> dict[str, set[str]]:
    """Give per selected table the ways by which its rows were reached."""
    tables: dict[str, set[str]] = {}
    for row in tx.rows("selected_tables"):
        tables.setdefault(row["table_name"], set()).add(row["via"])
    return tables
