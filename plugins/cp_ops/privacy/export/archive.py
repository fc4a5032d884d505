"""The archive of a person's export: one ZIP file whose bytes follow from its contents alone, and its verification."""

from __future__ import annotations

import hashlib
import json
import zipfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Any

from cp_ops.runtime.errors import CpOpsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


MANIFEST, README = "manifest.json", "README.txt"
BLOCK = 1 << 20
"""Bytes that are compressed or read at a time."""
COMPRESSION_LEVEL = 1
"""Text shrinks to about a sixth at level 1 and to an eighth at level 6, which takes three times as long."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a ZIP entry can bear: the archive says nothing about when it was made."""


class Ending(StrEnum):
    """What a table's file is: JSON Lines for machines, CSV for people."""

    JSONL = "jsonl"
    CSV = "csv"


class ArchiveVerificationError(CpOpsError):
    """An archive does not hold what its manifest says: it was not handed out."""


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A file of the archive as its manifest describes it."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass
class ArchivedTable:
    """A table of the personal-data map as the manifest describes it: also one without rows, or one that is not there.

    :ivar present: the connected database has the table.
    :ivar references: how often the person did something to a row that is about others.
    :ivar withheld: columns that are in no export: secrets, other people's data.
    """

    table: str
    present: bool = False
    rows: int = 0
    references: int = 0
    withheld: list[str] = field(default_factory=list)


class _Tally:
    """Counts and hashes what is written through it."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._digest = hashlib.sha256()
        self._pending: list[bytes | bytearray | memoryview] = []
        self._pending_bytes = 0
        self.rows = 0
        self.bytes = 0

    def write(self, line: bytes | bytearray | memoryview) -> None:
        self._pending.append(bytes(line))  # a copy: psycopg may use the buffer for the next row
        self._pending_bytes += len(line)
        if self._pending_bytes >= BLOCK:
            self.flush()

    def flush(self) -> None:
        block = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        self._digest.update(block)
        self._out.write(block)
        self.bytes += len(block)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


class ArchiveWriter:
    """Writes an archive file by file, at constant memory.

    :param out: a binary file, written from its start.
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(
            out, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=COMPRESSION_LEVEL
        )
        self.files: list[ArchivedFile] = []

    def add_lines(
        self, name: str, lines: Iterable[bytes | bytearray | memoryview], *, headers: int = 0
    ) -> int:
        """Write a file of lines; gives how many rows it has.

        :param headers: how many of the lines are headers.
        """
        with self._member(name) as tally:
            for line in lines:
                tally.write(line)
                tally.rows += 1
            tally.rows -= headers
        return self.files[-1].rows

    def add_text(self, name: str, text: str) -> None:
        """Write a small file, which the manifest lists, too."""
        with self._member(name) as tally:
            tally.write(text.encode())

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest and end the archive."""
        contents = {**manifest, "files": [asdict(file) for file in self.files]}
        with self._zip.open(_entry(MANIFEST), "w") as out:
            out.write(json.dumps(contents, indent=1, sort_keys=True, ensure_ascii=False).encode())
        self._zip.close()

    @contextmanager
    def _member(self, name: str) -> Iterator[_Tally]:
        with self._zip.open(_entry(name), "w", force_zip64=True) as out:
            tally = _Tally(out)
            yield tally
            tally.flush()
        self.files.append(ArchivedFile(name, tally.rows, tally.bytes, tally.hexdigest()))


def verify(archive: IO[bytes]) -> dict[str, Any]:
    """Read an archive again, hold every file against the manifest, and give the manifest.

    :raises ArchiveVerificationError: naming the file that differs, is missing, or is there without being listed.
    """
    archive.seek(0)
    try:
        with zipfile.ZipFile(archive) as opened:
            manifest: dict[str, Any] = json.loads(opened.read(MANIFEST))
            listed = {entry["name"]: entry for entry in manifest["files"]}
            names = opened.namelist()
            if sorted(names) != sorted([*listed, MANIFEST]):
                raise ArchiveVerificationError(
                    f"the archive has {len(names)} files, its manifest lists {len(listed)} besides itself"
                )
            for name, entry in listed.items():
                _verify_member(opened, name, entry)
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise ArchiveVerificationError(f"the archive cannot be read again ({type(error).__name__})") from None
    # The files are whole; are they also all? Rows were counted by other statements than those that wrote them.
    _verify_tables(manifest, listed)
    return manifest


def sha256_of(archive: IO[bytes]) -> str:
    """Hash a whole archive."""
    archive.seek(0)
    digest = hashlib.sha256()
    while block := archive.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _verify_member(opened: zipfile.ZipFile, name: str, entry: dict[str, Any]) -> None:
    digest, size, newlines = hashlib.sha256(), 0, 0
    with opened.open(name) as member:
        while block := member.read(BLOCK):
            digest.update(block)
            size += len(block)
            newlines += block.count(b"\n") if _is_jsonl(name) else 0
    if (size, digest.hexdigest()) != (entry["bytes"], entry["sha256"]):
        raise ArchiveVerificationError(f"{name}: contents differ from the manifest")
    if _is_jsonl(name) and newlines != entry["rows"]:
        raise ArchiveVerificationError(f"{name}: {newlines} rows, the manifest says {entry['rows']}")


def _is_jsonl(name: str) -> bool:
    # A line of CSV can hold newlines; only JSON Lines has as many as rows.
    return name.endswith(f".{Ending.JSONL}")


def _verify_tables(manifest: dict[str, Any], listed: dict[str, dict[str, Any]]) -> None:
    for table in manifest["tables"]:
        for ending in manifest["contents"]:
            name = f"tables/{table['table']}.{ending}"
            rows = listed[name]["rows"] if name in listed else 0
            if rows != table["rows"]:
                raise ArchiveVerificationError(f"{name}: {rows} rows, counted were {table['rows']}")


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = 3  # Unix, so that the mode below means something, whatever the worker runs on
    entry.external_attr = 0o100600 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
