"""Look at what an erasure covers: fills the selection, counts changes, finds blockers. Writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.privacy.catalogue import read_catalogue
from cp_ops.privacy.erasure.covered import Covered, differs, places, selected, spared, table_groups
from cp_ops.privacy.erasure.plan import Findings, Kept, TableChanges
from cp_ops.privacy.erasure.search import FirmSearch
from cp_ops.privacy.erasure.selection import Selection
from cp_ops.privacy.erasure.subject import SCOPES, Subject
from cp_ops.privacy.personal_data import Erasure, load_map
from cp_ops.runtime.errors import OptionsError
from cp_ops.runtime.firms import all_firm_ids
from cp_ops.runtime.statements import ComposedStatement, template

if TYPE_CHECKING:
    from cp_ops.privacy.personal_data import PersonalDataMap
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun


def preview(run: JobRun, tx: Transaction, subject: Subject, *, search: bool = False) -> Covered:
    """Find out what the erasure covers, as of the transaction's snapshot.

    :param search: look also for addresses and numbers that the erasure would leave; each column of them is a blocker.
    :raises OptionsError: when the entity is not one of the request's firm.
    """
    mapped, catalogue = load_map(), read_catalogue(tx)
    if tx.one(f"{subject.scope_type}_of_firm", entity_id=subject.entity_id, firm_id=subject.firm_id) is None:
        raise OptionsError(
            "request_id",
            f"{subject} is not one of firm {subject.firm_id}'s, or is gone",
            "Correct or reject the request",
        )
    selection = Selection(tx, mapped, catalogue, subject.firm_id)
    ids = {subject.entity_id}
    if subject.scope_type == "contact":
        ids |= {row["id"] for row in tx.rows("same_address_contacts", **_entity(subject))}
    selection.start(SCOPES[subject.scope_type], ids)
    selection.close()
    own = _own_accounts(run, tx, selection, subject.firm_id)
    if own:
        selection.erase_accounts(own)
        selection.close()
    selection.mentions()
    elsewhere = selection.accounts - own
    run.skip("kept: the account is used elsewhere, too", len(elsewhere))
    sizes = {(row["table_name"], row["column_name"]): row["size"] for row in tx.rows("column_sizes")}
    document_ids = [row["id"] for row in tx.rows("selected_documents")]
    locations = _locations(tx, subject, document_ids)
    covered = Covered(
        mapped, catalogue, selection, Findings((), (), 0, 0, {}), sizes, document_ids, locations
    )
    covered.found = Findings(
        changes=_changes(tx, covered),
        kept=_kept(tx, mapped),
        mails=_mails(tx, covered, subject.firm_id),
        objects=len(locations),
        blockers=_blockers(tx, selection, subject) | (_left(tx, covered) if search else {}),
    )
    return covered


def _entity(subject: Subject) -> dict[str, int]:
    return {"entity_id": subject.entity_id, "firm_id": subject.firm_id}


def _own_accounts(run: JobRun, tx: Transaction, selection: Selection, firm_id: int) -> set[int]:
    """Find the accounts that only this person uses; asked as every firm where row-level security hides the others."""
    own = set(selection.accounts)
    if not own or not {"auth_user", "clients_portal_user"} <= set(selection.present):
        return set()
    portals = sorted(selection.subjects["portal_user"])
    firms: list[int | None] = [None]
    if run.session.guarded:
        firms = [*all_firm_ids(tx)]
    for firm in firms:
        if firm is not None:
            tx.as_firm(firm)
        rows = tx.rows("accounts_of_their_own", user_ids=sorted(own), portal_user_ids=portals)
        own &= {row["id"] for row in rows}
    if run.session.guarded:
        tx.as_firm(firm_id)
    return own


def _changes(tx: Transaction, covered: Covered) -> list[TableChanges]:
    from psycopg import sql

    changes: list[TableChanges] = []
    for table, vias in selected(tx).items():
        facts = covered.catalogue.tables[table]
        for allowed, columns in table_groups(covered, table, vias):
            counts = sql.SQL(", ").join(
                sql.SQL("count(*) FILTER (WHERE {}) AS {}").format(
                    column.differs(facts), sql.Identifier(f"column_{position}")
                )
                for position, column in enumerate(columns)
            )
            query = template(
                "privacy/erasure/count_changes",
                counts=counts,
                differs=differs(columns, facts),
                **places(facts),
            )
            (row,) = tx.rows(ComposedStatement(f"counting {table}", query), vias=list(allowed))
            if row["rows"]:
                held = tuple(
                    (column.name, column.treatment, column.why, row[f"column_{position}"])
                    for position, column in enumerate(columns)
                )
                changes.append(TableChanges(table, allowed, row["rows"], row["digest"], held))
    return changes


def _kept(tx: Transaction, mapped: PersonalDataMap) -> list[Kept]:
    return [
        Kept(row["table_name"], name, column.why, row["rows"])
        for row in tx.rows("selected_rows")
        for name, column in mapped.tables[row["table_name"]].columns.items()
        if column.erasure is Erasure.KEEP
    ]


def _mails(tx: Transaction, covered: Covered, firm_id: int) -> int:
    row = tx.one("mails_to_forget", firm_id=firm_id, **covered.mail_params)
    return int(row["rows"]) if row else 0


def _locations(tx: Transaction, subject: Subject, document_ids: list[int]) -> list[dict[str, Any]]:
    if not document_ids:
        return []
    return tx.rows("object_locations", firm_id=subject.firm_id, document_ids=document_ids)


def _left(tx: Transaction, covered: Covered) -> dict[str, int]:
    """Find where an address or a number would be left: an erasure that was begun could not be completed."""
    search = FirmSearch(covered.mapped, covered.catalogue, covered.selection)
    found = search.everywhere(tx, spared(tx, covered, covered.mapped.tables))
    return {f"address or number left in {hit.table}.{hit.column}": hit.rows for hit in found.remains}


def _blockers(tx: Transaction, selection: Selection, subject: Subject) -> dict[str, int]:
    rows = [{"blocker": "legal hold", **(tx.one("legal_holds", firm_id=subject.firm_id) or {"rows": 0})}]
    if subject.scope_type == "account":
        client_ids = sorted(selection.subjects["client"])
        rows += tx.rows("client_blockers", client_ids=client_ids, firm_id=subject.firm_id)
    elif subject.scope_type == "engagement":
        rows += tx.rows("engagement_blockers", **_entity(subject))
    return {row["blocker"]: row["rows"] for row in rows}
