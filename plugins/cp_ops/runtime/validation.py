"""What pydantic found wrong, as the one problem that an error message names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


@dataclass(frozen=True, slots=True)
class Problem:
    """The first thing that is wrong with what was given; never what was given.

    :ivar field: the field, or "" where the whole is wrong.
    :ivar path: the way to it, such as ``tables.0.name``.
    :ivar kind: pydantic's name of the problem, such as ``extra_forbidden``.
    """

    field: str
    path: str
    kind: str
    message: str


def first_problem(error: ValidationError) -> Problem:
    """Give the first problem that a model found. Its input is left out, as it may be a secret."""
    found = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = [str(part) for part in found["loc"]]
    return Problem(
        field=place[0] if place else "",
        path=".".join(place),
        kind=found["type"],
        message=found["msg"].removeprefix("Value error, "),
    )
