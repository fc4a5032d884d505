"""What an export holds, as a plan: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.runtime.plan import Action, Payload, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cp_ops.privacy.export.archive import ArchivedTable


@dataclass(frozen=True, slots=True, eq=False)
class ExportedReferences(Payload):
    """How many of a table's rows in the export are references without contents."""

    references: int


def plan_export(tables: Iterable[ArchivedTable]) -> Plan:
    """Plan one action per table with rows or references."""
    return Plan.of(
        Action(
            "export",
            table.table,
            f"{table.rows} rows, {table.references} references",
            rows=table.rows + table.references,
            data=ExportedReferences(table.references),
        )
        for table in tables
        if table.rows or table.references
    )
