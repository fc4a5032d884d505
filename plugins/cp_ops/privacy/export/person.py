"""Under which ids the database knows one user: account, memberships, portals, clients, contact entries, addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.errors import OptionsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cp_ops.privacy.export.firm_by_firm import FirmByFirm
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun


@dataclass(frozen=True)
class Person:
    """The ids under which the database knows one user.

    :ivar ids: subject to ids: user, membership, portal_user, client, contact.
    :ivar firm_ids: the firms of the memberships and of the clients.
    :ivar emails: the user's own addresses in lower case, without those that another account bears, too.
    """

    user_id: int
    ids: Mapping[str, tuple[int, ...]]
    firm_ids: tuple[int, ...] = ()
    emails: tuple[str, ...] = ()

    def params(self) -> dict[str, Any]:
        """Give the bound values of the composed statements."""
        return {
            **{subject: list(ids) for subject, ids in self.ids.items()},
            "user_id": self.user_id,
            "firm_ids": list(self.firm_ids),
            "emails": list(self.emails),
        }


def find_person(run: JobRun, tx: Transaction, firms: FirmByFirm, user_id: int) -> Person:
    """Follow a user's keys; an address leads anywhere only inside the user's own firms.

    :raises OptionsError: when there is no such user.
    """
    user = tx.one("export_user", user_id=user_id)
    if user is None:
        raise OptionsError("user_id", f"user {user_id} does not exist", "Look up the id in auth_user")
    memberships = firms.rows("user_memberships", user_id=user_id)
    portals = _optional(run, tx, "clients_portal_user", "user_portals", user_id=user_id)
    client_ids = sorted({row["client_id"] for row in portals})
    clients = firms.rows("portal_clients", client_ids=client_ids)
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


def _optional(
    run: JobRun, tx: Transaction, table: str, statement: str, **params: Any
) -> list[dict[str, Any]]:
    """Ask a table that a deployment may lack; these tables have no firm and so no policy."""
    return tx.rows(statement, **params) if run.session.has(table) else []


def _own(tx: Transaction, user_id: int, addresses: Iterable[str]) -> tuple[str, ...]:
    """Give the addresses that tell the user from everybody else."""
    own = {address.strip().lower() for address in addresses} - {""}
    # An address that two accounts bear does not say whose a row is: what it leads to may be the other one's.
    shared = {row["email"] for row in tx.rows("shared_addresses", user_id=user_id, emails=sorted(own))}
    return tuple(sorted(own - shared))
