"""The ledger: every charge and refund that moved money, in order. The referee of every money test."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .store import Store


@dataclass(frozen=True)
class LedgerEntry:
    """One movement. ``kind`` is charge, refund or refund_failure, ``object`` the charge or refund, ``amount`` in minor units.

    A bank debit is entered when it settles. ``idempotency_key`` is that of the call that confirmed the payment.
    """

    entry: int
    at: int
    kind: str
    object: str
    payment_intent: str | None
    amount: int
    currency: str
    customer: str | None
    metadata: dict[str, str]
    idempotency_key: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the entry for JSON."""
        return asdict(self)


class Ledger:
    """Append-only: the database itself refuses to change or delete an entry."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __iter__(self) -> Iterator[LedgerEntry]:
        return iter(self.entries())

    def __len__(self) -> int:
        with self._store.lock:
            return int(self._store.db.execute("SELECT count(*) FROM ledger").fetchone()[0])

    def entries(self, kind: str | None = None) -> list[LedgerEntry]:
        """All entries, oldest first, of one kind if given."""
        with self._store.lock:
            rows = self._store.db.execute(
                "SELECT entry, at, kind, object, payment_intent, amount, currency, customer, metadata,"
                " idempotency_key FROM ledger WHERE ? IS NULL OR kind = ? ORDER BY entry",
                (kind, kind),
            ).fetchall()
        return [LedgerEntry(*(*row[:8], json.loads(row[8]), row[9])) for row in rows]

    def charges(self, **metadata: str) -> list[LedgerEntry]:
        """Successful charges, those whose metadata has all the given values."""
        return [e for e in self.entries("charge") if metadata.items() <= e.metadata.items()]

    def refunds(self) -> list[LedgerEntry]:
        """Refunds, also those that failed later."""
        return self.entries("refund")

    def charged_more_than_once(self, *names: str) -> dict[tuple[str | None, ...], int]:
        """Metadata values (one tuple of the named keys) with more than one successful charge, and how many."""
        counts = Counter(tuple(entry.metadata.get(name) for name in names) for entry in self.charges())
        return {values: count for values, count in counts.items() if count > 1}

    def totals(self) -> dict[str, int]:
        """Charged less refunded, per currency, in minor units; a refund that failed has come back."""
        result: Counter[str] = Counter()
        for entry in self:
            result[entry.currency] += -entry.amount if entry.kind == "refund" else entry.amount
        return dict(result)

    def record(self, kind: str, at: int, doc: dict[str, Any], idempotency_key: str | None) -> None:
        """Enter a charge or refund object that succeeded, or a refund that failed later."""
        self._store.db.execute(
            "INSERT INTO ledger (at, kind, object, payment_intent, amount, currency, customer, metadata,"
            " idempotency_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                at, kind, doc["id"], doc["payment_intent"], doc["amount"], doc["currency"], doc["customer"],
                json.dumps(doc["metadata"]), idempotency_key,
            ),
        )  # fmt: skip
