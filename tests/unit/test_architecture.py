"""docs/architecture.md's page "Where to look" names files and names that are there."""

from __future__ import annotations

import re

import pytest

from tests.airflow_environment import REPOSITORY

PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
SECTION = re.search(r"^## Where to look$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)[1]
ROWS = [
    [re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")[1:]]
    for line in SECTION.splitlines()
    if line.startswith("| ") and not line.startswith("| question")
]


def test_there_are_rows():
    assert len(ROWS) > 30


@pytest.mark.parametrize(("files", "names"), ROWS, ids="-".join)
def test_what_it_names_is_defined_there(files, names):
    (file,) = files
    path = REPOSITORY / file if file.startswith("include/") else REPOSITORY / "plugins" / "cp_ops" / file
    text = path.read_text(encoding="utf-8")
    for name in names:
        defined = rf"^\s*(def|class) {name}\b|^{name}\b.* = |^-- name: {name}$"
        assert re.search(defined, text, re.MULTILINE), f"{file} does not define {name}"
