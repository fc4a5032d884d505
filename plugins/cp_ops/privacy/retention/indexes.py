"""Before the first batch: the indexes without which every batch would read a large table as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cp_ops.privacy.retention.targets import RetentionAction, descend

if TYPE_CHECKING:
    from cp_ops.privacy.catalogue import Catalogue
    from cp_ops.privacy.retention.targets import Target
    from cp_ops.runtime.database import Transaction

LARGE_TABLE = 50_000
"""Rows, as PostgreSQL estimates them, up to which reading all of a table costs less than a batch's other work."""


def missing_indexes(
    tx: Transaction, target: Target, action: RetentionAction, catalogue: Catalogue
) -> list[str]:
    """Name the indexes without which a batch of this target would be slow, as ``table (column)``.

    Deleting looks up the children by their foreign keys; finding the rows needs an index that begins with the owner or
    the age.
    """
    needed = [(target.table, target.owner), (target.table, target.age)]
    if action is RetentionAction.DELETE:
        needed += [(child.table, child.column) for _, child in descend(target.children)]
    needed = [
        (table, column)
        for table, column in needed
        if table in catalogue.tables and column in catalogue.tables[table].columns
    ]
    facts = tx.rows("index_facts", tables=[t for t, _ in needed], columns=[c for _, c in needed])
    slow = {
        (row["table_name"], row["column_name"])
        for row in facts
        if not row["indexed"] and row["rows"] > LARGE_TABLE
    }
    finding = {(target.table, target.owner), (target.table, target.age)}
    if not finding <= slow:
        slow -= finding
    return [f"{table} ({column})" for table, column in sorted(slow)]
