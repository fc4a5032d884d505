"""Which rows a policy covers in this deployment, and what keeps it from touching them: asked before the first batch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cp_ops.privacy.retention.covered_tables import COVERED_TABLES, RetentionAction, descend
from cp_ops.privacy.retention.policies import SESSIONS, WEBHOOKS, Cause, PassedOver
from cp_ops.privacy.retention.rows import PolicyRows
from cp_ops.privacy.retention.webhooks_and_sessions import SessionRows, WebhookRows
from cp_ops.privacy.webhook_cleanup.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cp_ops.privacy.catalogue import Catalogue, ForeignKey
    from cp_ops.privacy.retention.covered_tables import CoveredTable
    from cp_ops.privacy.retention.policies import AppliedPolicy
    from cp_ops.privacy.retention.rows import RowsUnderPolicy
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun

log = logging.getLogger(__name__)

LARGE_TABLE = 50_000
"""Rows, as PostgreSQL estimates them, up to which reading all of a table costs less than a batch's other work."""

TableColumn = tuple[str, str]
"""A table's name and a column's."""


def covered_rows(
    run: JobRun, tx: Transaction, applied: AppliedPolicy, catalogue: Catalogue
) -> Sequence[RowsUnderPolicy] | PassedOver:
    """Give the rows that a policy covers, or the policy as passed over, with the reason."""
    data_type = applied.policy.data_type
    rows: Sequence[RowsUnderPolicy]
    if data_type == SESSIONS:
        rows = [SessionRows(applied)] if SessionRows.table in catalogue.tables else []
    elif data_type == WEBHOOKS:
        rows = [WebhookRows(applied, provider) for provider in _providers(catalogue)]
    else:
        tables = _present_tables(data_type, catalogue)
        if obstacle := _obstacle(tx, applied, tables, catalogue):
            return obstacle
        rows = [PolicyRows(run, applied, covered, catalogue) for covered in tables]
    return rows or PassedOver(applied.policy, f"{data_type}: this deployment has no table for them")


def _providers(catalogue: Catalogue) -> list[str]:
    return [provider for provider, events in PROVIDERS.items() if events.table.name in catalogue.tables]


def _present_tables(data_type: str, catalogue: Catalogue) -> list[CoveredTable]:
    return [covered for covered in COVERED_TABLES[data_type] if covered.tables <= set(catalogue.tables)]


def _obstacle(
    tx: Transaction, applied: AppliedPolicy, tables: Sequence[CoveredTable], catalogue: Catalogue
) -> PassedOver | None:
    """Say what keeps a policy from being carried out at all, before anything of it is."""
    policy = applied.policy
    if applied.action is RetentionAction.DELETE:
        # A child that nobody listed may be worth keeping, and its key would fail the batch at COMMIT.
        unknown = [str(key) for covered in tables for key in unknown_references(covered, catalogue)]
        if unknown:
            keys = ", ".join(unknown)
            reason = f"{policy.data_type}: nothing was deleted, these keys are not known: {keys}"
            return PassedOver(policy, reason, Cause.NEEDS_CORRECTION)
    missing = [
        index for covered in tables for index in missing_indexes(tx, covered, applied.action, catalogue)
    ]
    if missing:
        reason = f"{policy.data_type}: batches would be slow without an index on {', '.join(missing)}"
        log.warning("policy %s was passed over: %s", policy.id, reason)
        return PassedOver(policy, reason)
    return None


def unknown_references(covered: CoveredTable, catalogue: Catalogue) -> list[ForeignKey]:
    """Give the foreign keys to rows that a deletion takes along and that no child of the table lists."""
    known = {(child.table, child.column) for _, child in descend(covered.children)}
    deleted = {covered.table, *(child.table for _, child in descend(covered.children) if not child.stays)}
    return [
        key
        for key in catalogue.foreign_keys
        if key.references in deleted and key.table != key.references and (key.table, key.column) not in known
    ]


def missing_indexes(
    tx: Transaction, covered: CoveredTable, action: RetentionAction, catalogue: Catalogue
) -> list[str]:
    """Name the indexes without which a batch of this table would be slow, as ``table (column)``.

    Deleting looks up the children by their foreign keys. Finding the rows needs an index that begins with the owner or
    one that begins with the age.
    """
    finding = {(covered.table, covered.owner), (covered.table, covered.age)}
    children = descend(covered.children) if action is RetentionAction.DELETE else ()
    needed = _present_columns({*finding, *((child.table, child.column) for _, child in children)}, catalogue)
    # A batch that reads a large table as a whole holds its locks meanwhile, and there are many batches.
    slow = _slow(tx, needed)
    if not finding <= slow:
        slow -= finding  # one of the two finds the rows quickly
    return [f"{table} ({column})" for table, column in sorted(slow)]


def _present_columns(columns: Iterable[TableColumn], catalogue: Catalogue) -> list[TableColumn]:
    tables = catalogue.tables
    return [
        (table, column) for table, column in columns if table in tables and column in tables[table].columns
    ]


def _slow(tx: Transaction, needed: Sequence[TableColumn]) -> set[TableColumn]:
    """Give the columns of large tables that no index begins with."""
    facts = tx.rows(
        "index_facts",
        tables=[table for table, _ in needed],
        columns=[column for _, column in needed],
    )
    return {
        (fact["table_name"], fact["column_name"])
        for fact in facts
        if not fact["indexed"] and fact["rows"] > LARGE_TABLE
    }
