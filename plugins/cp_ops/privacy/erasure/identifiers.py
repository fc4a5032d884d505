"""What identifies the erased persons: their addresses, telephone numbers and full names."""

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


@dataclass
class Identifiers:
    """What identifies the erased persons. In memory only, never logged or stored."""

    addresses: set[str] = field(default_factory=set)
    phones: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def learn(self, row: Mapping[str, Any]) -> None:
        """Take up what a person's own row says."""
        for column, value in row.items():
            text = str(value or "").strip().lower()
            if not text or text.startswith("erased"):
                continue
            if ADDRESS.search(column) and "@" in text:
                self.addresses.add(text)
            elif PHONE.search(column) and len(re.sub(r"\D", "", text)) >= PHONE_DIGITS:
                self.phones.update({text, re.sub(r"\D", "", text)})
        full = " ".join(str(row.get(part) or "").strip() for part in ("first_name", "last_name")).strip()
        for name in (full, *(str(row.get(part) or "") for part in ("contact_name", "primary_contact_name"))):
            if " " in name.strip() and len(name) >= NAME_LENGTH and not name.startswith("Erased"):
                self.names.add(name.strip().lower())
