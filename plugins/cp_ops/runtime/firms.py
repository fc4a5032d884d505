"""The firms that a run covers, and their days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cp_ops.runtime.errors import OptionsError, RowFailedError

if TYPE_CHECKING:
    from datetime import date, datetime

    from cp_ops.runtime.database import Transaction

SERVED = ("active", "trial")
"""Statuses of the firms that commands work for."""


@dataclass(frozen=True, slots=True)
class Firm:
    """A tenant, as far as every job needs it."""

    id: int
    slug: str
    status: str
    timezone: str
    currency: str
    kms_key_id: str

    def today(self, now: datetime) -> date:
        """Give the firm's calendar day at an instant.

        :raises RowFailedError: when `firm_firm.timezone` is not an IANA time zone.
        """
        try:
            zone = ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):
            raise RowFailedError(
                f"firm {self.id}: time zone {self.timezone!r} is not known; correct it"
            ) from None
        return now.astimezone(zone).date()


def all_firm_ids(tx: Transaction) -> list[int]:
    """Give the id of every firm, whatever its status."""
    return [row["id"] for row in tx.rows("runtime/all_firm_ids")]


def served_firms(tx: Transaction, firm_id: int | None) -> list[Firm]:
    """Give one firm, or every active or trial one.

    :raises OptionsError: when the firm does not exist, or is neither active nor on trial.
    """
    firms = tx.rows("runtime/firms", Firm, firm_id=firm_id)
    if firm_id is not None:
        if not firms:
            raise OptionsError("firm_id", f"firm {firm_id} does not exist", "Look up its id in firm_firm")
        if firms[0].status not in SERVED:
            raise OptionsError(
                "firm_id",
                f"firm {firm_id} is {firms[0].status}",
                f"Only firms that are {' or '.join(SERVED)} are worked for",
            )
    return firms
