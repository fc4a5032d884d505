"""The archive of an export: its bytes follow from its contents, and damage is found."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict

import pytest

from cp_ops.privacy.export.archive import (
    ArchivedTable,
    ArchiveVerificationError,
    ArchiveWriter,
    verify,
)
from cp_ops.privacy.export.readme import readme


def write(rows=2, tables=None):
    out = io.BytesIO()
    archive = ArchiveWriter(out)
    archive.add_lines("tables/notes.jsonl", (b'{"n":%d}\n' % n for n in range(rows)))
    archive.add_text("README.txt", "hello")
    archive.finish(
        {
            "contents": ["jsonl"],
            "tables": [
                asdict(table) for table in tables or [ArchivedTable("notes", present=True, rows=rows)]
            ],
        }
    )
    return out


def rewritten(archive, change):
    """Repack an archive with changed members."""
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)
    return out


def test_an_archive_is_read_again_against_its_manifest():
    manifest = verify(write(3))
    assert [(file["name"], file["rows"]) for file in manifest["files"]] == [
        ("tables/notes.jsonl", 3),
        ("README.txt", 0),
    ]


def test_the_same_contents_give_the_same_bytes():
    assert write().getvalue() == write().getvalue()


def test_large_files_are_written_in_blocks_and_counted_whole():
    manifest = verify(write(300_000))
    assert manifest["files"][0]["rows"] == 300_000
    assert manifest["files"][0]["bytes"] > 1 << 20


def test_a_header_is_no_row():
    out = io.BytesIO()
    archive = ArchiveWriter(out)
    assert archive.add_lines("tables/notes.csv", [b"n\n", b"1\n"], headers=1) == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: m.update({"tables/notes.jsonl": b'{"n":7}\n{"n":8}\n'}), "contents differ"),
        (lambda m: m.pop("README.txt"), "has 2 files, its manifest lists 2 besides itself"),
        (lambda m: m.update({"extra.txt": b""}), "has 4 files"),
        (lambda m: m.pop("manifest.json"), "cannot be read again"),
        (lambda m: m.update({"manifest.json": b"{"}), "cannot be read again"),
    ],
)
def test_damage_is_found(change, complaint):
    with pytest.raises(ArchiveVerificationError, match=complaint):
        verify(rewritten(write(), change))


def test_a_row_count_that_lies_is_found():
    def lie(members):
        manifest = json.loads(members["manifest.json"])
        manifest["files"][0]["rows"] = 5
        members["manifest.json"] = json.dumps(manifest).encode()

    with pytest.raises(ArchiveVerificationError, match="2 rows, the manifest says 5"):
        verify(rewritten(write(), lie))


@pytest.mark.parametrize(
    "tables",
    [
        [ArchivedTable("notes", present=True, rows=3)],
        [ArchivedTable("notes", present=True, rows=2), ArchivedTable("lost", present=True, rows=1)],
    ],
    ids=["other count", "table without file"],
)
def test_rows_that_were_counted_and_not_written_are_found(tables):
    with pytest.raises(ArchiveVerificationError, match="counted were"):
        verify(write(2, tables))


def test_a_truncated_archive_is_found():
    data = write().getvalue()
    with pytest.raises(ArchiveVerificationError, match="cannot be read again"):
        verify(io.BytesIO(data[: len(data) // 2]))


def test_the_page_for_the_person_names_what_was_found_and_nothing_empty():
    page = readme(
        [ArchivedTable("invoices", rows=3, references=1), ArchivedTable("leads")],
        ("jsonl", "csv"),
        documents=0,
    )
    assert "invoices" in page
    assert "leads" not in page
    assert "apostrophe" in page
    assert "apostrophe" not in readme([], ("jsonl",), documents=0)
