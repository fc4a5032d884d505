"""Export and import of the whole account as lines of JSON, a line an object: constant memory both ways."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

from .catalog import KINDS
from .shapes import SHAPES, Doc
from .store import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .account import Account

_LEDGER_COLUMNS = "at, kind, object, payment_intent, amount, currency, customer, metadata, idempotency_key"


def export_lines(account: Account) -> Iterator[str]:
    """Write the clock, every object in the order of its creation, then the ledger."""
    yield json.dumps({"clock": account.clock.state()}) + "\n"
    for kind in KINDS:
        for doc in account.store.walk(kind):
            yield json.dumps(doc) + "\n"
    with account.store.lock:
        rows = account.store.db.execute(f"SELECT {_LEDGER_COLUMNS} FROM ledger ORDER BY entry").fetchall()
        due = account.store.db.execute("SELECT payment_intent, due FROM settlement").fetchall()
    for row in rows:
        yield json.dumps({"ledger": row}) + "\n"
    for row in due:
        yield json.dumps({"settlement": row}) + "\n"


def import_lines(account: Account, text: str | Iterable[str]) -> Doc:
    """Add what ``export_lines`` wrote to an empty account; how many of each kind.

    Objects may be given with few members; the rest are those of an empty object. All or nothing.
    """
    lines = text.splitlines() if isinstance(text, str) else text
    counts: dict[str, int] = {}
    with account.store.transaction():
        if any(account.store.count(kind, Selection()) for kind in KINDS):
            raise ValueError("the account is not empty")
        rows = (json.loads(line) for line in lines if line.strip())
        for label, group in itertools.groupby(rows, key=_label):
            counts[label] = counts.get(label, 0) + _import_group(account, label, group)
    return counts


def _label(row: Doc) -> str:
    return next(
        (name for name in ("clock", "ledger", "settlement") if name in row and "object" not in row), ""
    ) or str(row["object"])


def _import_group(account: Account, label: str, group: Iterable[Doc]) -> int:
    database = account.store.db
    count = 0
    if label in KINDS:
        for batch in _batches(group):
            docs = [{**SHAPES[label](), "created": account.now(), **doc} for doc in batch]
            account.store.insert_many(label, docs)
            count += len(docs)
        return count
    for row in group:
        count += 1
        if label == "clock":
            account.clock.restore(row["clock"])
            account.store.set_state("clock", row["clock"])
        elif label == "ledger":
            database.execute(
                f"INSERT INTO ledger ({_LEDGER_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row["ledger"]
            )
        else:
            database.execute("INSERT INTO settlement VALUES (?, ?)", row["settlement"])
    return count


def _batches(rows: Iterable[Doc], size: int = 1000) -> Iterator[list[Doc]]:
    iterator = iter(rows)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
