"""Under which ids the database knows one user: account, memberships, portals, clients, contact entries, addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.privacy.export.selection import Person
from cp_ops.runtime.errors import OptionsError
from cp_ops.runtime.firms import all_firm_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun


def find_person(run: JobRun, tx: Transaction, user_id: int) -> Person:
    """Follow a user's keys; an address leads anywhere only inside the user's own firms.

    :raises OptionsError: when there is no such user.
    """
    user = tx.one("export_user", user_id=user_id)
    if user is None:
        raise OptionsError("user_id", f"user {user_id} does not exist", "Look up the id in auth_user")
    memberships = as_each_firm(run, tx, lambda: tx.rows("user_memberships", user_id=user_id))
    portals = _optional(run, tx, "clients_portal_user", "user_portals", user_id=user_id)
    client_ids = sorted({row["client_id"] for row in portals})
    clients = as_each_firm(run, tx, lambda: tx.rows("portal_clients", client_ids=client_ids))
    portal_ids = [row["id"] for row in portals]
    contacts = _optional(run, tx, "clients_contact", "portal_contacts", portal_user_ids=portal_ids)
    further = _optional(run, tx, "account_emailaddress", "verified_addresses", user_id=user_id)
    return Person(
        user_id,
        {
            "user": (user_id,),
            "membership": tuple(sorted(row["id"] for row in memberships)),
            "portal_user": tuple(portal_ids),
            "client": tuple(client_ids),
            "contact": tuple(row["id"] for row in contacts),
            "lead": (),
            "prospect": (),
            "account_contact": (),
        },
        firm_ids=tuple(sorted({row["firm_id"] for row in (*memberships, *clients)})),
        emails=_own(tx, user_id, [user["email"], *(row["email"] for row in further)]),
    )


def firms_to_ask(run: JobRun, tx: Transaction) -> list[int | None]:
    """Give the firms as which guarded tables are asked: every one under row-level security, else no one's."""
    if not run.session.guarded:
        return [None]
    return [*all_firm_ids(tx)]


def become(tx: Transaction, firm_id: int | None) -> None:
    """See one firm's rows from here on, where row-level security is on."""
    if firm_id is not None:
        tx.as_firm(firm_id)


def as_each_firm(
    run: JobRun, tx: Transaction, ask: Callable[[], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Ask for rows of guarded tables, as each firm where row-level security is on."""
    found: list[dict[str, Any]] = []
    for firm_id in firms_to_ask(run, tx):
        become(tx, firm_id)
        found += ask()
    return found


def _optional(
    run: JobRun, tx: Transaction, table: str, statement: str, **params: Any
) -> list[dict[str, Any]]:
    """Ask a table that a deployment may lack; these tables have no firm and so no policy."""
    return tx.rows(statement, **params) if run.session.has(table) else []


def _own(tx: Transaction, user_id: int, addresses: Iterable[str]) -> tuple[str, ...]:
    own = {address.strip().lower() for address in addresses} - {""}
    shared = {row["email"] for row in tx.rows("shared_addresses", user_id=user_id, emails=sorted(own))}
    return tuple(sorted(own - shared))
