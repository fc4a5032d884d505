"""The journal outside the database: one JSON line per completed erasure, so that it survives a restored backup.

Ids, counts and hashes only. The file is a plain file of a folder that is backed up apart from the database, named by
setting [cp_ops] erasure_journal. A line is appended and forced to disk before the database is told that the erasure is
complete: a line too many is harmless (the same request is erased once), a line too few would not be.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import CpOpsError, SettingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class JournalError(CpOpsError):
    """The journal holds something that is no entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One executed erasure."""

    firm_id: int
    request_id: int
    scope_type: str
    entity_id: int
    plan_sha256: str
    executed_at: str


def append(path: str, entry: Entry) -> None:
    """Append an entry and force it to disk; nothing when it is there already. A line cut short by a kill is dropped.

    :param path: setting erasure_journal; '' keeps no journal outside the database.
    :raises SettingError: when the file cannot be written.
    """
    if not path:
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+", encoding="utf-8") as journal:
            fcntl.flock(journal, fcntl.LOCK_EX)
            text = journal.read()
            journal.truncate(len(text[: text.rfind("\n") + 1].encode()))
            known = {
                (known.firm_id, known.request_id) for known in parse(text.splitlines(keepends=True), path)
            }
            if (entry.firm_id, entry.request_id) not in known:
                journal.write(json.dumps(asdict(entry), sort_keys=True) + "\n")
                journal.flush()
                os.fsync(journal.fileno())
    except OSError as error:
        raise SettingError("erasure_journal", f"cannot be written ({error.strerror})") from None


def read(path: str) -> list[Entry]:
    """Read a journal.

    :raises JournalError: naming the line that is no entry, or the file when it cannot be read.
    """
    try:
        with Path(path).open(encoding="utf-8") as journal:
            return list(parse(journal, path))
    except OSError as error:
        raise JournalError(f"{path}: cannot be read ({error.strerror})") from None


def parse(lines: Iterable[str], path: str) -> Iterator[Entry]:
    """Read entries; a last line that a killed writer left unfinished is passed over.

    :raises JournalError: naming the line that is no entry.
    """
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            return
        try:
            yield Entry(**json.loads(line))
        except (ValueError, TypeError):
            raise JournalError(f"{path}, line {number}: no entry of a journal of erasures") from None
