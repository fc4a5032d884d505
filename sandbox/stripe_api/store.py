"""The objects, in SQLite: memory stays flat at 100,000 invoices, and a page costs what a page holds."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .catalog import KINDS
from .shapes import SHAPES, Doc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LEDGER = """
CREATE TABLE IF NOT EXISTS ledger (
    entry INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, kind TEXT NOT NULL, object TEXT NOT NULL,
    payment_intent TEXT, amount INTEGER NOT NULL, currency TEXT NOT NULL, customer TEXT, metadata TEXT NOT NULL,
    idempotency_key TEXT, UNIQUE (object, kind));
CREATE TRIGGER IF NOT EXISTS ledger_is_append_only_u BEFORE UPDATE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS ledger_is_append_only_d BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TABLE IF NOT EXISTS idempotency (
    key TEXT PRIMARY KEY, endpoint TEXT NOT NULL, digest TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,
    request TEXT NOT NULL, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS settlement (payment_intent TEXT PRIMARY KEY, due INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

_EMPTY: dict[str, Doc] = {kind: SHAPES[kind]() for kind in KINDS}
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def _value_at(doc: Doc, path: str) -> Any:
    value: Any = doc
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


@dataclass(frozen=True)
class Selection:
    """Which rows of a kind, newest first. ``equal`` compares columns, ``between`` bounds them."""

    equal: dict[str, Any] = field(default_factory=dict)
    between: list[tuple[str, str, int]] = field(default_factory=list)
    any_of: dict[str, list[str]] = field(default_factory=dict)

    def where(self, cursor: str | None = None) -> tuple[list[str], list[Any]]:
        """Return conditions and their values; operators and columns are ours, never a caller's text.

        With a cursor, bounds on its side are kept from the index (unary plus): SQLite would start there and
        walk to the cursor, and a page would cost what lies before it.
        """
        beside = {"after": ("<", "<="), "before": (">", ">="), None: ()}[cursor]
        terms = [f"{column} = ?" for column in self.equal]
        values = list(self.equal.values())
        for column, operator, bound in self.between:
            terms.append(f"{'+' if operator in beside else ''}{column} {operator} ?")
            values.append(bound)
        for column, options in self.any_of.items():
            terms.append(f"{column} IN ({','.join('?' * len(options))})")
            values.extend(options)
        return terms, values


class Store:
    """Objects by kind and id. Every use holds ``lock``; a transaction is one API call."""

    def __init__(self, path: Path | None = None) -> None:
        self.lock = threading.RLock()
        # Without a path SQLite keeps a temporary file, so that memory stays flat here too.
        self.db = sqlite3.connect(str(path or ""), check_same_thread=False, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=OFF")
        self.db.execute("PRAGMA cache_size=-32000")
        self._create()

    def _create(self) -> None:
        self.db.executescript(_LEDGER)
        for kind, about in KINDS.items():
            columns = "".join(f", {column}" for column in about.columns)
            self.db.execute(
                f"CREATE TABLE IF NOT EXISTS {kind} (seq INTEGER PRIMARY KEY AUTOINCREMENT, "
                f"id TEXT NOT NULL UNIQUE, created INTEGER NOT NULL{columns}, body TEXT NOT NULL)"
            )
            for column in about.columns:
                self.db.execute(
                    f"CREATE INDEX IF NOT EXISTS {kind}_{column} ON {kind} ({column}, created, seq)"
                )
            self.db.execute(f"CREATE INDEX IF NOT EXISTS {kind}_created ON {kind} (created, seq)")

    def reset(self) -> None:
        """Forget everything, the ledger too."""
        with self.lock:
            for name in [*KINDS, "ledger", "idempotency", "settlement", "state"]:
                self.db.execute(f"DROP TABLE IF EXISTS {name}")
            self._create()

    def close(self) -> None:
        """Close the database; nothing is lost, each transaction is already written."""
        with self.lock:
            self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and alone."""
        with self.lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException as error:
                self.db.execute("COMMIT" if getattr(error, "keeps_effect", False) else "ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def insert_many(self, kind: str, docs: Iterable[Doc]) -> None:
        """Add objects in creation order."""
        about = KINDS[kind]
        names = ["id", "created", *about.columns, "body"]
        self.db.executemany(
            f"INSERT INTO {kind} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
            (self._row(kind, doc) for doc in docs),
        )

    def insert(self, doc: Doc) -> Doc:
        """Add one object and return it."""
        self.insert_many(doc["object"], [doc])
        return doc

    def save(self, doc: Doc) -> Doc:
        """Replace an object by its new state and return it."""
        kind = doc["object"]
        sets = ", ".join(f"{name} = ?" for name in ["created", *KINDS[kind].columns, "body"])
        row = self._row(kind, doc)
        self.db.execute(f"UPDATE {kind} SET {sets} WHERE id = ?", (*row[1:], row[0]))
        return doc

    def delete(self, kind: str, object_id: str) -> None:
        """Forget an object."""
        self.db.execute(f"DELETE FROM {kind} WHERE id = ?", (object_id,))

    def get(self, kind: str, object_id: str) -> Doc | None:
        """Return an object by id."""
        row = self.db.execute(f"SELECT id, created, body FROM {kind} WHERE id = ?", (object_id,)).fetchone()
        return None if row is None else self._doc(kind, row)

    def count(self, kind: str, selection: Selection | None = None) -> int:
        """How many objects match."""
        terms, values = (selection or Selection()).where()
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        return int(self.db.execute(f"SELECT count(*) FROM {kind}{where}", values).fetchone()[0])

    def position(self, kind: str, object_id: str) -> tuple[int, int] | None:
        """Where an object stands in the list order (created, seq)."""
        row = self.db.execute(f"SELECT created, seq FROM {kind} WHERE id = ?", (object_id,)).fetchone()
        return None if row is None else (row[0], row[1])

    def select(
        self,
        kind: str,
        selection: Selection,
        limit: int,
        *,
        after: tuple[int, int] | None = None,
        before: tuple[int, int] | None = None,
    ) -> list[Doc]:
        """Newest first, at most ``limit``; ``before`` takes the rows next to that position, still newest first."""
        terms, values = selection.where(cursor="after" if after else "before" if before else None)
        if after or before:
            terms.append(f"(created, seq) {'<' if after else '>'} (?, ?)")
            values.extend(after or before or ())
        where = f"WHERE {' AND '.join(terms)}" if terms else ""
        direction = "ASC" if before else "DESC"
        rows = self.db.execute(
            f"SELECT id, created, body FROM {kind} {where} ORDER BY created {direction}, seq {direction} LIMIT ?",
            (*values, limit),
        ).fetchall()
        docs = [self._doc(kind, row) for row in rows]
        return docs[::-1] if before else docs

    def walk(self, kind: str) -> Iterator[Doc]:
        """Every object of a kind in the order of insertion, a thousand at a time."""
        seq = 0
        while rows := self.db.execute(
            f"SELECT seq, id, created, body FROM {kind} WHERE seq > ? ORDER BY seq LIMIT 1000", (seq,)
        ).fetchall():
            seq = rows[-1][0]
            yield from (self._doc(kind, row[1:]) for row in rows)

    def state(self, name: str, default: Any = None) -> Any:
        """Return a value of the sandbox itself that survives a restart."""
        row = self.db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    def set_state(self, name: str, value: Any) -> None:
        """Keep a value of the sandbox itself."""
        self.db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, json.dumps(value)))

    @staticmethod
    def _row(kind: str, doc: Doc) -> tuple[Any, ...]:
        empty = _EMPTY[kind]
        body = {
            name: value
            for name, value in doc.items()
            if name not in {"id", "created"} and (name not in empty or empty[name] != value)
        }
        columns = (_value_at(doc, path) for path in KINDS[kind].columns.values())
        return (doc["id"], doc["created"], *columns, _ENCODE(body))

    @staticmethod
    def _doc(kind: str, row: tuple[Any, ...]) -> Doc:
        doc: Doc = {"id": row[0], "created": row[1], **SHAPES[kind]()}
        doc.update(json.loads(row[2]))
        return doc
