"""The environment of the mails' templates."""

from __future__ import annotations

import jinja2
import pytest

from cp_ops.runtime.mail_templates import render

WORDS = {
    "firm_name": "Fish & <Chips>",
    "first_name": "Robin",
    "username": "robin@acme.example",
    "hours": 72,
    "link": "https://app.example.test/",
}


def test_html_is_escaped_and_plain_text_is_not():
    assert "Fish &amp; &lt;Chips&gt;" in render("firms/provisioning/invitation.html.j2", **WORDS)
    assert "Fish & <Chips>" in render("firms/provisioning/invitation.txt.j2", **WORDS)


def test_a_word_that_is_missing_is_an_error_and_no_gap():
    with pytest.raises(jinja2.UndefinedError, match="'link' is undefined"):
        render("firms/provisioning/invitation.txt.j2", **{k: v for k, v in WORDS.items() if k != "link"})
