"""Named SQL: statements live in `include/sql/<domain>/<room>.sql`, each under a name and a line that says what it answers.

    -- name: open_deals
    -- Open deals of the given firms, in id order.
    SELECT ...

A job runs the statements of its own file by their bare names. A statement of another file is addressed with that file:
``runtime/firms`` is the statement `firms` of `include/sql/runtime.sql`.

Values are bound (``%(firm_ids)s``), never formatted in. Where the *names* of tables or columns are only known at run
time, because they come from a deployment or from the catalogue, a statement leaves a place open as ``{table}``; psycopg
quotes the name into it. Statements with such places that are put together from parts are templates and live in
`include/sql/templates/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator


INCLUDE = Path(__file__).resolve().parents[3] / "include"
"""The package's include/ folder: beside dags/ and plugins/."""

SHOWN_AS = {
    "finance/charges": "charges",
    "finance/reconciliation": "stripe",
    "privacy/catalogue": "personal_data",
    "privacy/erasure": "erasure",
    "privacy/export": "export",
    "privacy/retention": "retention",
}
"""What messages call the files of domains with many statements. Other files go by their domain. Messages are kept in the
application's rows and in people's notes, so these names stay when files move.
"""

_HEADER = re.compile(r"^-- name: (?P<name>\w+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Statement:
    """One named statement.

    :ivar file: where it lives, below `include/sql/` and without the suffix, such as ``finance/charges``.
    """

    file: str
    name: str
    text: str
    description: str

    def __str__(self) -> str:
        """Name the statement in a message."""
        shown = SHOWN_AS.get(self.file) or self.file.split("/")[0]
        return f"{shown}/{self.name}"


@dataclass(frozen=True, slots=True)
class ComposedStatement:
    """A statement that was put together from templates.

    :ivar doing: what it is for, such as ``erasing auth_user``; the start of an error's message.
    """

    doing: str
    query: sql.Composed


class Statements:
    """The statements of one file, by name."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._by_name = _parse(file, (INCLUDE / "sql" / f"{file}.sql").read_text(encoding="utf-8"))

    def __getitem__(self, name: str) -> Statement:
        """Give a statement.

        :raises KeyError: naming the file that lacks it.
        """
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(f"include/sql/{self.file}.sql has no statement named {name}") from None

    def __iter__(self) -> Iterator[Statement]:
        return iter(self._by_name.values())


@cache
def statements(file: str) -> Statements:
    """Load a file's statements, once per process."""
    return Statements(file)


def statement_at(address: str, *, home: str = "") -> Statement:
    """Give the statement at an address.

    :param address: a bare name of the home file, or ``file/name``.
    :param home: the file that bare names mean.
    """
    file, _, name = address.rpartition("/")
    return statements(file or home)[name]


def template(address: str, /, **places: sql.Composable) -> sql.Composed:
    """Fill the places of a template.

    :param address: ``file/name`` below `include/sql/templates/`.
    :param places: identifiers and literals, quoted by psycopg, and other composed SQL.
    """
    return sql.SQL(statement_at(f"templates/{address}").text).format(**places)


def part(address: str) -> sql.Composed:
    """Give a named statement to put into a template's place."""
    return sql.Composed([sql.SQL(statement_at(address).text)])


def _parse(file: str, source: str) -> dict[str, Statement]:
    found: dict[str, Statement] = {}
    headers = list(_HEADER.finditer(source))
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        lines = source[header.end() : following.start() if following else None].strip().splitlines()
        comments = list(takewhile(lambda line: line.startswith("--"), lines))
        name = header["name"]
        if not comments:
            raise ValueError(f"include/sql/{file}.sql: {name} needs a comment that says what it answers")
        if name in found:
            raise ValueError(f"include/sql/{file}.sql: {name} is defined twice")
        text = "\n".join(line for line in lines if not line.startswith("--")).strip().rstrip(";")
        found[name] = Statement(
            file, name, text, " ".join(line.removeprefix("--").strip() for line in comments)
        )
    return found
