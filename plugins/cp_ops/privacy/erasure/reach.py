"""Which rows an erasure reaches, by which keys, and where it must stop: rules over the personal-data map. Pure.

The danger is on both sides. A key that is not followed leaves the person in the database; a key that is followed too far
erases somebody else. So every row is selected together with its way (`via`): the column that led to it, or `WHOLE` where
everything in the row is the person's. `plan.grouped_columns` decides from the ways which columns are erased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.privacy.erasure.identifiers import tells_who
from cp_ops.privacy.personal_data import EMAIL, Erasure, Export, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cp_ops.privacy.personal_data import MappedTable, PersonalColumn, PersonKey

WHOLE = ""
"""The way of a row that is covered as a whole."""


@dataclass(frozen=True, slots=True)
class KeyToRows:
    """A key by which rows of a table are reached.

    :ivar names: whose ids the column holds, a subject of the map; or ``email``.
    :ivar via: the way under which the rows are selected.
    :ivar is_own: the column is the row's own key, by which only rows that another row points at are looked for.
    """

    column: str
    names: str
    via: str
    is_own: bool


def keys_to_rows(entry: MappedTable, primary_key: str) -> Iterator[KeyToRows]:
    """Give the keys of a table by which a person's rows are reached."""
    for column, key in entry.keys.items():
        # Whoever wrote or assigned a row is not the one it is about.
        if key.role is Role.AUTHOR:
            continue
        is_own = column == primary_key
        # What belongs to an erased client goes with it, and a person's own row is the person. Any other row may be
        # about several people (an appointment names a contact and a member of staff): there the column stays the way.
        # So does an address, which says whom one value means and nothing about the rest of the row.
        whole = key.names != EMAIL and (key.role is Role.BELONGS or is_own)
        yield KeyToRows(column, key.names, WHOLE if whole else column, is_own)


def followed_to_parts(vias: Iterable[str], entry: MappedTable, passing: frozenset[str]) -> list[str]:
    """Give the ways of a parent's rows from which its parts follow.

    :param entry: the part's table.
    :param passing: the ways that do not make the parent's row the person's (`PersonalDataMap.passing`).
    """
    # A part that names its own person, such as an attendee of an appointment, may be about another one. It follows only
    # a parent that is covered as a whole.
    names_somebody = any(key.role is Role.ABOUT for key in entry.keys.values())
    return sorted(via for via in vias if via == WHOLE or not (names_somebody or via in passing))


def onward_keys(entry: MappedTable, primary_key: str, *, whole: bool) -> dict[str, str]:
    """Give the keys of a person's row that lead on to further rows of the same person, each with the subject it names.

    :param whole: the row is covered as a whole; else it was reached through a key.
    """
    return {
        column: key.names
        for column, key in entry.keys.items()
        if column != primary_key and _leads_on(key, whole=whole)
    }


def _leads_on(key: PersonKey, *, whole: bool) -> bool:
    # Authors are other people; an address leads on by the identifiers that are learned from the row.
    if key.role is not Role.ABOUT or key.names == EMAIL:
        return False
    # A client as a whole leads on to the prospect that it was. If we reached the row only through an e-mail address,
    # follow only keys that must mean the same person. A prospect's lead, for example, may be a colleague.
    return whole or key.export is not Export.NONE


def identifying_columns(entry: MappedTable) -> list[str]:
    """Give the columns of a person's row from which the person's addresses, numbers and names are learned."""
    return [column for column, treated in entry.columns.items() if _identifies(column, treated)]


def _identifies(column: str, treated: PersonalColumn) -> bool:
    # What is kept for a legal reason may stand elsewhere for the same reason: it is not looked for.
    return treated.erasure is not Erasure.KEEP and tells_who(column)


def mentioning_columns(entry: MappedTable) -> list[str]:
    """Give the columns that are searched for the person, whoever the row is about, such as a provider's payload."""
    return [column for column, treated in entry.columns.items() if treated.mentions]
