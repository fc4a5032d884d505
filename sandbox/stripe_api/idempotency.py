"""Idempotency keys (https://docs.stripe.com/api/idempotent_requests)."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .account import Account
    from .shapes import Doc


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered: status, JSON body, and the id of the request that it answered."""

    status: int
    body: Doc
    request_id: str


def digest_of(params: Doc) -> str:
    """Return a digest of the request's parameters, whatever their order."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


class IdempotencyKeys:
    """Answers by key: replayed for 24 hours of the sandbox's clock, then forgotten, and the call runs again."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._in_flight: set[str] = set()

    @contextmanager
    def claim(self, key: str, endpoint: str, digest: str) -> Iterator[Answer | None]:
        """Yield the stored answer of this key, or None: then the caller runs, while others get 409.

        Raises ``ApiError`` for a key of another request (400) and for one in flight (409).
        """
        if len(key) > 255:
            raise ApiError(400, "Idempotency keys can be at most 255 characters long.", remembered=False)
        if key in self._in_flight:
            raise ApiError(
                409,
                "There is currently another in-progress request using this Idempotent Key (that probably means "
                "you submitted twice, and the other request is still going through). Please try again later.",
                kind="idempotency_error",
                code="idempotency_key_in_use",
                remembered=False,
            )
        stored = self._stored(key, endpoint, digest)
        self._in_flight.add(key)
        try:
            yield stored
        finally:
            self._in_flight.discard(key)

    def store(self, key: str, endpoint: str, digest: str, answer: Answer) -> None:
        """Remember an answer, unless the key has one."""
        self._account.store.db.execute(
            "INSERT OR IGNORE INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                key, endpoint, digest, answer.status, json.dumps(answer.body), answer.request_id,
                self._account.now(),
            ),
        )  # fmt: skip

    def _stored(self, key: str, endpoint: str, digest: str) -> Answer | None:
        with self._account.store.lock:
            database = self._account.store.db
            horizon = self._account.now() - self._account.settings.idempotency_ttl
            database.execute("DELETE FROM idempotency WHERE key = ? AND created <= ?", (key, horizon))
            row = database.execute(
                "SELECT endpoint, digest, status, body, request FROM idempotency WHERE key = ?", (key,)
            ).fetchone()
        if row is None:
            return None
        if row[0] != endpoint:
            raise _mismatch(
                "Keys for idempotent requests can only be used for the same endpoint they were first used for "
                f"('{endpoint}' vs '{row[0]}').",
                key,
            )
        if row[1] != digest:
            raise _mismatch(
                "Keys for idempotent requests can only be used with the same parameters they were first used "
                "with.",
                key,
            )
        return Answer(row[2], json.loads(row[3]), row[4])


def _mismatch(message: str, key: str) -> ApiError:
    return ApiError(
        400,
        f"{message} Try using a key other than '{key}' if you meant to execute a different request.",
        kind="idempotency_error",
        remembered=False,
    )
