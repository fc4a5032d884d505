"""Deleting a batch of rows: their children before them, in the order in which no row ever points at a deleted one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from cp_ops.privacy.retention.covered_tables import descend
from cp_ops.runtime.statements import ComposedStatement, template

if TYPE_CHECKING:
    from cp_ops.privacy.catalogue import Catalogue
    from cp_ops.privacy.retention.covered_tables import Child, CoveredTable


def deletions(covered: CoveredTable, catalogue: Catalogue) -> list[ComposedStatement]:
    """Compose what deletes a batch, its keys bound as `ids`: every child's statement, the rows' own last.

    Children that the connected database does not have are left out.
    """
    steps = [
        _delete_child((*path, child), catalogue)
        for path, child in descend(covered.children)
        if all(one.table in catalogue.tables for one in (*path, child))
        and child.column in catalogue.tables[child.table].columns
    ]
    own = template(
        "privacy/retention/delete_rows",
        table=sql.Identifier(covered.table),
        condition=template(
            "privacy/retention/children_of_batch",
            column=sql.Identifier(catalogue.tables[covered.table].primary_key),
        ),
    )
    return [*steps, ComposedStatement(f"delete {covered.table}", own)]


def _delete_child(path: tuple[Child, ...], catalogue: Catalogue) -> ComposedStatement:
    """Compose what becomes of the last table's rows: they go, or are detached and stay."""
    child = path[-1]
    table, condition = sql.Identifier(child.table), _belongs(path, catalogue)
    if child.stays:
        detached = template(
            "privacy/retention/detach_rows",
            table=table,
            column=sql.Identifier(child.column),
            condition=condition,
        )
        return ComposedStatement(f"detach {child.table}", detached)
    deleted = template("privacy/retention/delete_rows", table=table, condition=condition)
    return ComposedStatement(f"delete {child.table}", deleted)


def _belongs(path: tuple[Child, ...], catalogue: Catalogue) -> sql.Composed:
    """Compose which rows of the last table of a path go with the batch."""
    column = sql.Identifier(path[-1].column)
    if len(path) == 1:
        return template("privacy/retention/children_of_batch", column=column)
    parent = path[-2].table
    return template(
        "privacy/retention/children_of",
        column=column,
        key=sql.Identifier(catalogue.tables[parent].primary_key),
        parent=sql.Identifier(parent),
        condition=_belongs(path[:-1], catalogue),
    )
