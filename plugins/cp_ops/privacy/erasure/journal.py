"""The journal outside the database, which survives a restored backup: JSON lines of the erasures that were begun and done.

Ids and hashes only. The file is a plain file of a folder that is backed up apart from the database, named by setting
[cp_ops] erasure_journal. Each line is forced to disk:

- *begun*, before the erasure's commit: a journal that cannot be written stops the erasure. Nothing is erased because of
  it, so a line too many is harmless. The commit may have failed, or the request may have been rejected since.
- *done*, after the commit. A kill in between loses nothing: the database knows that the erasure is completed, and the
  next run of execute_erasure_request or replay_erasures adds the line.

Only a *done* line is replayed. Lines without a state are of executed erasures, from before there were states.

A restored backup hands out ids again: an entry is of one entity under one request, and ``executed_at`` says until when
the entity's id meant what was erased.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cp_ops.runtime.errors import CpOpsError, SettingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from cp_ops.runtime.job import JobRun


class JournalState(StrEnum):
    """What a line says of its erasure."""

    BEGUN = "begun"
    DONE = "done"


class JournalError(CpOpsError):
    """The journal holds something that is no entry."""


class JournalKey(NamedTuple):
    """What an entry is about; each of the ids alone may have been handed out again."""

    firm_id: int
    request_id: int
    scope_type: str
    entity_id: int


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One erasure, begun or done.

    :param plan_sha256: the plan that was approved.
    :param executed_at: when it was completed, with the time zone.
    """

    firm_id: int
    request_id: int
    scope_type: str
    entity_id: int
    plan_sha256: str
    executed_at: datetime
    state: JournalState = JournalState.DONE

    @property
    def key(self) -> JournalKey:
        """Give what the entry is about."""
        return JournalKey(self.firm_id, self.request_id, self.scope_type, self.entity_id)

    def line(self) -> str:
        """Give the entry as a line of the journal."""
        return json.dumps(asdict(self) | {"executed_at": self.executed_at.isoformat()}, sort_keys=True) + "\n"


def newest(entries: Iterable[JournalEntry], state: JournalState) -> dict[JournalKey, JournalEntry]:
    """Give the newest entry in a state of everything that there are entries about."""
    found: dict[JournalKey, JournalEntry] = {}
    for entry in entries:
        known = found.get(entry.key)
        if entry.state == state and (known is None or known.executed_at < entry.executed_at):
            found[entry.key] = entry
    return found


def append(path: str, entries: Iterable[JournalEntry]) -> None:
    """Append the entries that are not there already and force them to disk. A line cut short by a kill is dropped.

    An entry is there when a line of the same key and state is not older.

    :param path: setting erasure_journal; '' keeps no journal outside the database.
    :raises SettingError: when the file cannot be written.
    :raises JournalError: naming the line that is no entry.
    """
    if not path:
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+", encoding="utf-8") as journal:
            # Erasures of different requests may end at the same time, and append to the same file.
            fcntl.flock(journal, fcntl.LOCK_EX)
            known = list(parse(_whole_lines(journal), path))
            there = {state: newest(known, state) for state in JournalState}
            for entry in entries:
                line = there[entry.state].get(entry.key)
                if line is None or line.executed_at < entry.executed_at:
                    there[entry.state][entry.key] = entry
                    journal.write(entry.line())
            journal.flush()
            os.fsync(journal.fileno())
    except OSError as error:
        raise SettingError("erasure_journal", f"cannot be written ({error.strerror})") from None


def _whole_lines(journal: TextIO) -> list[str]:
    """Read the journal, and cut off what a killed writer left of its last line: the next line would be joined to it."""
    text = journal.read()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        journal.truncate(len(whole.encode()))
    return whole.splitlines(keepends=True)


def executed(run: JobRun) -> list[JournalEntry]:
    """Read the journal that is in the database: the erasures that were completed."""
    with run.read() as tx:
        return tx.rows("completed_erasures", JournalEntry)


def catch_up(run: JobRun) -> None:
    """Append a *done* line for each erasure that the database knows to be completed; nothing in a dry run."""
    path = run.settings.erasure_journal
    if path and not run.dry_run:
        append(path, executed(run))


def read(path: str) -> list[JournalEntry]:
    """Read a journal.

    :raises JournalError: naming the line that is no entry, or the file when it cannot be read.
    """
    try:
        with Path(path).open(encoding="utf-8") as journal:
            return list(parse(journal, path))
    except OSError as error:
        raise JournalError(f"{path}: cannot be read ({error.strerror})") from None


def parse(lines: Iterable[str], path: str) -> Iterator[JournalEntry]:
    """Read entries; a last line that a killed writer left unfinished is passed over.

    :raises JournalError: naming the line that is no entry.
    """
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            return
        try:
            yield _entry(line)
        except (ValueError, TypeError, KeyError):
            raise JournalError(f"{path}, line {number}: no entry of a journal of erasures") from None


def _entry(line: str) -> JournalEntry:
    """Read an entry.

    :raises ValueError: or TypeError, or KeyError, when it is none.
    """
    fields = json.loads(line)
    fields["executed_at"] = datetime.fromisoformat(fields["executed_at"])
    fields["state"] = JournalState(fields.get("state", JournalState.DONE))
    entry = JournalEntry(**fields)
    # `True` is an int to isinstance; as an id it would mean row 1.
    if not all(type(number) is int for number in (entry.firm_id, entry.request_id, entry.entity_id)):
        raise ValueError("wrong type")
    # Compared with when a row was created: without its zone the instant is not known.
    if entry.executed_at.tzinfo is None:
        raise ValueError("no time zone")
    return entry
