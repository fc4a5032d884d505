"""Look at what an erasure covers: fills the selection, counts changes, finds blockers. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cp_ops.privacy.catalogue import read_catalogue
from cp_ops.privacy.erasure.covered import CoveredRows, selected_tables
from cp_ops.privacy.erasure.entity import ENTITY_TABLES, ScopeType
from cp_ops.privacy.erasure.objects import StoredLocation
from cp_ops.privacy.erasure.plan import (
    FORBIDDEN_BY,
    Blocker,
    ColumnChange,
    KeptColumn,
    PreviewCounts,
    TableChanges,
    left_outside,
)
from cp_ops.privacy.erasure.search import FirmSearch
from cp_ops.privacy.erasure.selection import ErasureSelection
from cp_ops.privacy.personal_data import Erasure, load_map
from cp_ops.runtime.errors import OptionsError
from cp_ops.runtime.firms import all_firm_ids
from cp_ops.runtime.statements import ComposedStatement, template

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cp_ops.privacy.erasure.covered import ColumnGroup
    from cp_ops.privacy.erasure.entity import RequestedEntity
    from cp_ops.privacy.personal_data import PersonalDataMap
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun


@dataclass(frozen=True)
class ErasurePreview:
    """The covered rows, and what was counted in them."""

    covered: CoveredRows
    counts: PreviewCounts


def preview(run: JobRun, tx: Transaction, entity: RequestedEntity, *, search: bool = False) -> ErasurePreview:
    """Find out what the erasure covers, as of the transaction's snapshot.

    :param search: look also for addresses and numbers that the erasure would leave; each column of them is a blocker.
    :raises OptionsError: when the entity is not one of the request's firm.
    """
    mapped, catalogue = load_map(), read_catalogue(tx)
    _require_of_firm(tx, entity)
    selection = ErasureSelection(tx, mapped, catalogue, entity.firm_id)
    _select(run, tx, selection, entity)
    sizes = {(row["table_name"], row["column_name"]): row["size"] for row in tx.rows("column_sizes")}
    document_ids = [row["id"] for row in tx.rows("selected_documents")]
    covered = CoveredRows(
        mapped,
        catalogue,
        selection.firm_scope,
        selection.identifiers,
        sizes,
        document_ids,
        _locations(tx, entity, document_ids),
    )
    counts = PreviewCounts(
        changes=list(_changes(tx, covered)),
        kept=_kept(tx, mapped),
        mails=tx.count("mails_to_forget", firm_id=entity.firm_id, **covered.mail_params),
        objects=len(covered.locations),
        blockers=_blockers(tx, entity, selection.subjects["client"])
        | (_left_outside(tx, covered) if search else {}),
    )
    return ErasurePreview(covered, counts)


def _require_of_firm(tx: Transaction, entity: RequestedEntity) -> None:
    if tx.one(ENTITY_TABLES[entity.scope_type].of_firm, **_bound(entity)) is None:
        raise OptionsError(
            "request_id",
            f"{entity} is not one of firm {entity.firm_id}'s, or is gone",
            "Correct or reject the request",
        )


def _bound(entity: RequestedEntity) -> dict[str, int]:
    return {"entity_id": entity.entity_id, "firm_id": entity.firm_id}


def _select(run: JobRun, tx: Transaction, selection: ErasureSelection, entity: RequestedEntity) -> None:
    """Fill the selection: the entity, what its keys lead to, its people's accounts, what mentions them."""
    ids = {entity.entity_id}
    if entity.scope_type is ScopeType.CONTACT:
        # One person may be a contact of several clients. Erased at one of them only, the person would still be there.
        ids |= {row["id"] for row in tx.rows("same_address_contacts", **_bound(entity))}
    selection.start(ENTITY_TABLES[entity.scope_type].table, ids)
    selection.close()
    own = _own_accounts(run, tx, selection, entity.firm_id)
    if own:
        selection.erase_accounts(own)
        selection.close()
    selection.select_mentions()
    run.skip("kept: the account is used elsewhere, too", len(selection.accounts - own))


def _own_accounts(run: JobRun, tx: Transaction, selection: ErasureSelection, firm_id: int) -> set[int]:
    """Find the accounts that only this person uses."""
    own = set(selection.accounts)
    if not own or not {"auth_user", "clients_portal_user"} <= set(selection.present):
        return set()
    bound = {"user_ids": sorted(own), "portal_user_ids": sorted(selection.subjects["portal_user"])}
    if not run.session.guarded:
        return own & _ids(tx.rows("accounts_of_their_own", **bound))
    # Row-level security hides the other firms' memberships, and an account that is used there must stay. Every firm is
    # asked in turn; the account is this person's only if none of them objects.
    for firm in all_firm_ids(tx):
        tx.as_firm(firm)
        own &= _ids(tx.rows("accounts_of_their_own", **bound))
    tx.as_firm(firm_id)
    return own


def _ids(rows: Iterable[dict[str, int]]) -> set[int]:
    return {row["id"] for row in rows}


def _locations(tx: Transaction, entity: RequestedEntity, document_ids: list[int]) -> list[StoredLocation]:
    if not document_ids:
        return []
    return tx.rows("object_locations", StoredLocation, firm_id=entity.firm_id, document_ids=document_ids)


def _changes(tx: Transaction, covered: CoveredRows) -> Iterable[TableChanges]:
    for table, vias in selected_tables(tx).items():
        for group in covered.groups(table, vias):
            change = _counted(tx, table, group)
            # What an earlier run has erased already is not planned again.
            if change.rows:
                yield change


def _counted(tx: Transaction, table: str, group: ColumnGroup) -> TableChanges:
    query = template("privacy/erasure/count_changes", counts=group.counts(), **group.places())
    (row,) = tx.rows(ComposedStatement(f"counting {table}", query), vias=list(group.vias))
    columns = tuple(
        ColumnChange(column.name, column.treatment, column.why, row[group.alias(position)])
        for position, column in enumerate(group.columns)
    )
    return TableChanges(table, group.vias, row["rows"], row["digest"], columns)


def _kept(tx: Transaction, mapped: PersonalDataMap) -> list[KeptColumn]:
    return [
        KeptColumn(row["table_name"], name, column.why, row["rows"])
        for row in tx.rows("selected_rows")
        for name, column in mapped.tables[row["table_name"]].columns.items()
        if column.erasure is Erasure.KEEP
    ]


def _blockers(tx: Transaction, entity: RequestedEntity, client_ids: set[int]) -> dict[str, int]:
    held = tx.count("legal_holds", firm_id=entity.firm_id)
    rows: list[dict[str, Any]] = []
    if entity.scope_type is ScopeType.ACCOUNT:
        rows = tx.rows("client_blockers", client_ids=sorted(client_ids), firm_id=entity.firm_id)
    elif entity.scope_type is ScopeType.ENGAGEMENT:
        rows = tx.rows("engagement_blockers", **_bound(entity))
    counted = {row["blocker"]: row["rows"] for row in rows}
    others = FORBIDDEN_BY.get(entity.scope_type, ())
    return {Blocker.LEGAL_HOLD: held} | {blocker: counted[blocker] for blocker in others}


def _left_outside(tx: Transaction, covered: CoveredRows) -> dict[str, int]:
    """Find where an address or a number would be left: an erasure that was begun could not be completed."""
    found = FirmSearch(covered).everywhere(tx, covered.spared(tx, covered.mapped.tables))
    return {left_outside(hit.table, hit.column): hit.rows for hit in found.remains}
