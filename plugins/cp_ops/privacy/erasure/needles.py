"""How an identifier is recognised in a text: as a whole, not as a part of another one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterable

ESCAPE = r"\\[bfnrt]|\\u[0-9a-f]{4}"
"""What the text of a jsonb value has in the place of a line break, a tab or a control character."""


@dataclass(frozen=True, slots=True)
class Needles:
    """Texts to look for: patterns that LIKE is quick with, and expressions that look at what is around a hit.

    :ivar kind: the start of the bound values' names.
    """

    kind: str
    patterns: list[str]
    expressions: list[str]

    @property
    def params(self) -> dict[str, list[str]]:
        """The values that `within` binds."""
        return {f"{self.kind}_patterns": self.patterns, f"{self.kind}_expressions": self.expressions}

    def within(self, column: str) -> sql.Composable:
        """Tell whether a column of ``line`` holds one of the texts, whatever its type and case."""
        # LIKE goes first: it passes over almost every row at a fraction of what a regular expression costs.
        return sql.SQL("(lower({0}::text) LIKE ANY({1}) AND lower({0}::text) ~ ANY({2}))").format(
            sql.SQL("line.{}").format(sql.Identifier(column)),
            sql.Placeholder(f"{self.kind}_patterns"),
            sql.Placeholder(f"{self.kind}_expressions"),
        )


def any_within(column: str, needles: Iterable[Needles]) -> sql.Composable | None:
    """Tell whether a column holds any of several kinds of texts; None when there is nothing to look for."""
    hits = [some.within(column) for some in needles if some.patterns]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(hits)) if hits else None


def addresses_in_text(addresses: Iterable[str]) -> Needles:
    """Look for addresses: not within a longer one (``an@x.example`` in ``jan@x.example`` or ``an@x.example.com``).

    A full stop, a dash or an underscore beside it belongs to the sentence.
    """
    known = sorted(addresses)
    return Needles(
        "address",
        [_pattern(address) for address in known],
        [
            rf"(^|[^a-z0-9._%+-]|{ESCAPE})[._%+-]*{re.escape(address)}[.-]*($|[^a-z0-9.-])"
            for address in known
        ],
    )


def numbers_in_text(numbers: Iterable[str]) -> Needles:
    """Look for telephone numbers: not within a longer number."""
    known = sorted(numbers)
    return Needles(
        "number",
        [_pattern(number) for number in known],
        [rf"(^|[^0-9]|{ESCAPE}){re.escape(number)}($|[^0-9])" for number in known],
    )


def names_in_text(names: Iterable[str]) -> Needles:
    """Look for full names: a hint only, so wherever the letters are."""
    known = sorted(names)
    return Needles("name", [_pattern(name) for name in known], [re.escape(name) for name in known])


def _pattern(needle: str) -> str:
    literal = needle.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
    return f"%{literal}%"
