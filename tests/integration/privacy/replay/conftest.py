"""A journal of erasures outside the database, which every run of these tests keeps."""

from __future__ import annotations

import pytest


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "erasures.jsonl"


@pytest.fixture
def runner(runner, journal):
    return runner.with_settings(erasure_journal=str(journal))
