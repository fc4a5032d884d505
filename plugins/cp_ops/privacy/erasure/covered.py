"""The covered rows: what the preview, the execution and the search need to know about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cp_ops.privacy.erasure.needles import addresses_in_text
from cp_ops.privacy.erasure.plan import grouped_columns
from cp_ops.privacy.erasure.treatment import treated_columns
from cp_ops.runtime.outbox import recipient_key

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from cp_ops.privacy.catalogue import Catalogue, CatalogueTable
    from cp_ops.privacy.erasure.plan import Findings
    from cp_ops.privacy.erasure.search import Spared
    from cp_ops.privacy.erasure.selection import Selection
    from cp_ops.privacy.erasure.treatment import TreatedColumn
    from cp_ops.privacy.personal_data import PersonalDataMap
    from cp_ops.runtime.database import Transaction


@dataclass
class Covered:
    """Everything that the later steps need to know about the covered rows."""

    mapped: PersonalDataMap
    catalogue: Catalogue
    selection: Selection
    found: Findings
    sizes: Mapping[tuple[str, str], int]
    document_ids: list[int]
    locations: list[dict[str, Any]]

    @property
    def mail_params(self) -> dict[str, list[str]]:
        """What finds the outbox's mails to the person, and those that name the person's address."""
        addresses = self.selection.identifiers.addresses
        return {
            "recipient_keys": sorted(recipient_key(address) for address in addresses),
            **addresses_in_text(addresses).params,
        }


def table_groups(
    covered: Covered, table: str, vias: set[str]
) -> list[tuple[tuple[str, ...], list[TreatedColumn]]]:
    """Group a selected table's erasable columns by the keys through which they are erased."""
    facts = covered.catalogue.tables[table]
    erasable = covered.mapped.erasable(table, facts)
    groups = grouped_columns(
        {name: column.whose for name, column in erasable.items()}, vias, covered.mapped.passing(table)
    )
    return [
        (allowed, treated_columns(facts, {name: erasable[name] for name in names}, covered.sizes))
        for allowed, names in groups.items()
    ]


def spared(tx: Transaction, covered: Covered, tables: Container[str]) -> Spared:
    """Give the values of these tables that the erasure takes away."""
    return {
        table: {
            column.name: list(allowed)
            for allowed, columns in table_groups(covered, table, vias)
            for column in columns
        }
        for table, vias in selected(tx).items()
        if table in tables
    }


def selected(tx: Transaction) -> dict[str, set[str]]:
    """Give per selected table the keys through which its rows were reached."""
    tables: dict[str, set[str]] = {}
    for row in tx.rows("selected_tables"):
        tables.setdefault(row["table_name"], set()).add(row["via"])
    return tables


def differs(columns: list[TreatedColumn], table: CatalogueTable) -> sql.Composable:
    """Tell whether any of the columns still holds something."""
    return sql.SQL(" OR ").join(column.differs(table) for column in columns)


def places(table: CatalogueTable) -> dict[str, sql.Composable]:
    """Give what every template about one table's selected rows needs."""
    return {
        "table": sql.Identifier(table.name),
        "table_name": sql.Literal(table.name),
        "key": sql.Identifier(table.primary_key),
        "key_type": sql.SQL(table.columns[table.primary_key]),
    }
