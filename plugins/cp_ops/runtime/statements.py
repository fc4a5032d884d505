"""Named SQL: statements live in `include/sql/<domain>/<room>.sql`, each under a name and a line that says what it answers.

    -- name: open_deals
    -- Open deals of the given firms, in id order.
    SELECT ...

Parameters are bound (``%(firm_ids)s``), never formatted in. A domain whose tables have deployment-specific names leaves
them open as ``{payments}``; `Transaction.with_identifiers` quotes them in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

INCLUDE = Path(__file__).resolve().parents[3] / "include"
"""The package's include/ folder: beside dags/ and plugins/."""

_HEADER = re.compile(r"^-- name: (?P<name>\w+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Statement:
    """One named statement."""

    domain: str
    name: str
    text: str
    description: str

    def __str__(self) -> str:
        return f"{self.domain.split('/')[0]}/{self.name}"


class Statements:
    """The statements of one domain, by name."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self._by_name = _parse(domain, (INCLUDE / "sql" / f"{domain}.sql").read_text(encoding="utf-8"))

    def __getitem__(self, name: str) -> Statement:
        """Give a statement.

        :raises KeyError: naming the file that lacks it.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(f"include/sql/{self.domain}.sql has no statement named {name}") from None

    def __iter__(self) -> Iterator[Statement]:
        return iter(self._by_name.values())


@cache
def statements(domain: str) -> Statements:
    """Load a domain's statements, once per process."""
    return Statements(domain)


def _parse(domain: str, source: str) -> dict[str, Statement]:
    found: dict[str, Statement] = {}
    headers = list(_HEADER.finditer(source))
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        lines = source[header.end() : following.start() if following else None].strip().splitlines()
        comments = list(takewhile(lambda line: line.startswith("--"), lines))
        name = header["name"]
        if not comments:
            raise ValueError(f"include/sql/{domain}.sql: {name} needs a comment that says what it answers")
        if name in found:
            raise ValueError(f"include/sql/{domain}.sql: {name} is defined twice")
        text = "\n".join(line for line in lines if not line.startswith("--")).strip().rstrip(";")
        found[name] = Statement(
            domain, name, text, " ".join(line.removeprefix("--").strip() for line in comments)
        )
    return found
