"""What identifies the erased persons: their addresses, telephone numbers and full names. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ADDRESS = re.compile(r"email|username")
PHONE = re.compile(r"phone|mobile")
NAME = re.compile(r"^(first_name|last_name|contact_name|primary_contact_name)$")
PHONE_DIGITS = 7
"""A shorter number is an extension or a short code: it would be found everywhere."""
NAME_LENGTH = 8
"""A shorter name is found inside ordinary words."""


def tells_who(column: str) -> bool:
    """Tell whether a column holds an address, a number or a name, by its own name."""
    return any((ADDRESS.search(column), PHONE.search(column), NAME.match(column)))


@dataclass
class Identifiers:
    """What identifies the erased persons. In memory only, never logged or stored."""

    addresses: set[str] = field(default_factory=set)
    phones: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def learn(self, row: Mapping[str, Any]) -> None:
        """Take up what a person's own row says."""
        for column, value in row.items():
            text = _text(value).strip().lower()
            # A row that an earlier run has erased holds stand-ins: they identify nobody.
            if not text.startswith("erased"):
                self._learn_reach(column, text)
        full = " ".join(_text(row.get(part)).strip() for part in ("first_name", "last_name")).strip()
        others = (_text(row.get(column)) for column in ("contact_name", "primary_contact_name"))
        self.names.update(name.strip().lower() for name in (full, *others) if _is_full_name(name))

    def _learn_reach(self, column: str, text: str) -> None:
        digits = re.sub(r"\D", "", text)
        # A user name is an identifier only where it is an address: others would be found everywhere.
        if ADDRESS.search(column) and "@" in text:
            self.addresses.add(text)
        elif PHONE.search(column) and len(digits) >= PHONE_DIGITS:
            # As it is written here, and as a provider writes it.
            self.phones.update({text, digits})


def _text(value: Any) -> str:
    return str(value or "")


def _is_full_name(name: str) -> bool:
    # One word may be a company, or anybody's first name.
    return " " in name.strip() and len(name) >= NAME_LENGTH and not name.startswith("Erased")
