"""The texts of mails: templates below `include/templates/`, one environment for all of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from cp_ops.runtime.statements import INCLUDE


def render(template: str, /, **words: Any) -> str:
    """Fill a template.

    What is put into HTML (``.html.j2``) is escaped. Into plain text it goes as it is.

    :param template: its path below `include/templates/`, such as ``finance/charges/payment_declined.txt.j2``.
    :raises jinja2.UndefinedError: when it names a word that was not given: a mail with a gap must not leave.
    """
    return _environment().get_template(template).render(words)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(INCLUDE / "templates"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
