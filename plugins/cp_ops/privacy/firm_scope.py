"""Which rows of a table are a firm's: composed for the erasure and for the export, which trust different keys.

Most tables say it themselves, by `firm_id`. A table without it is a part of something: its keys are followed, table by
table, until one that has the column is reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cp_ops.privacy.catalogue import Catalogue, CatalogueTable
    from cp_ops.privacy.personal_data import MappedTable

FIRM_ID = "firm_id"
LEAD_TO_NO_FIRM = frozenset({"auth_user", "firm_firm"})
"""An account may be in several firms; and a firm's own row has no `firm_id`."""

Route = tuple[str, str]
"""A column of a table, and the table that it leads to."""


@dataclass(frozen=True)
class FirmScope:
    """Composes the condition that a row, which the statement calls ``line``, is a firm's.

    :ivar tables: the tables that may be looked at.
    :ivar routes: gives the columns of a table that lead towards the firm, the best first.
    :ivar is_own: gives the condition for a table that has `firm_id`.
    """

    tables: Mapping[str, CatalogueTable]
    routes: Callable[[str], Iterable[Route]]
    is_own: Callable[[CatalogueTable], sql.Composable]

    def condition(self, name: str, passed: frozenset[str] = frozenset()) -> sql.Composable | None:
        """Compose the condition for a table; None when no key leads to a firm.

        :param passed: the tables between the one that was asked for and this one.
        """
        table = self.tables[name]
        if FIRM_ID in table.columns:
            return self.is_own(table)
        on_the_way = passed | {name}
        for column, parent in self.routes(name):
            # Keys may run in circles: no way passes a table twice.
            if parent in on_the_way:
                continue
            inner = self.condition(parent, on_the_way)
            if inner is not None:
                return sql.SQL("line.{} IN (SELECT line.{} FROM {} AS line WHERE {})").format(
                    sql.Identifier(column),
                    sql.Identifier(self.tables[parent].primary_key),
                    sql.Identifier(parent),
                    inner,
                )
        return None


def rows_of_the_firm(catalogue: Catalogue, firm_id: int, *, strict: bool) -> FirmScope:
    """Give the erasure's scope: one firm, in every table of the database.

    :param strict: a row whose `firm_id` is empty is nobody's. Else it may be the firm's: that a key led to it decides.
    """

    def is_own(table: CatalogueTable) -> sql.Composable:
        own = sql.SQL("line.firm_id = {}").format(sql.Literal(firm_id))
        if strict or FIRM_ID in table.required:
            return own
        return sql.SQL("({} OR line.firm_id IS NULL)").format(own)

    def routes(name: str) -> list[Route]:
        # The search must look at tables that the map does not know, so only the database's own keys serve here. A
        # required key comes first: an optional one that is empty would lose the row.
        required = catalogue.tables[name].required
        found = [
            (key.column, key.references)
            for key in catalogue.foreign_keys
            if key.table == name
            and key.references not in LEAD_TO_NO_FIRM
            and key.references in catalogue.tables
        ]
        return sorted(found, key=lambda route: (route[0] not in required, route))

    return FirmScope(catalogue.tables, routes, is_own)


def rows_of_a_persons_firms(present: Mapping[str, tuple[MappedTable, CatalogueTable]]) -> FirmScope:
    """Give the export's scope: the firms that the bound ``%(firm_ids)s`` names, in the tables of the map.

    :param present: the tables of the map that the database has.
    """

    def is_own(_: CatalogueTable) -> sql.Composable:
        # A person may be known to several firms. A row of no firm is shown to nobody.
        return sql.SQL("line.firm_id = ANY(%(firm_ids)s::bigint[])")

    def routes(name: str) -> list[Route]:
        # An export shows rows to somebody, so it follows only what the map declares: a part's parent, then the client
        # whose row it is. A foreign key that nobody has looked at would be enough for the erasure, but not here.
        entry, _ = present[name]
        parents = [(column, parent.table) for column, parent in entry.parents.items()]
        clients = [(column, "clients_client") for column, key in entry.keys.items() if key.names == "client"]
        return [*parents, *(clients if "clients_client" in present else [])]

    return FirmScope({name: table for name, (_, table) in present.items()}, routes, is_own)
