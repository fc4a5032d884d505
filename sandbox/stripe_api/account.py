"""One Stripe account: its objects, clock, ledger and events, and what its settings are."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .catalog import new_id
from .clock import SandboxClock
from .errors import no_such
from .ledger import Ledger
from .shapes import SHAPES, Doc, shown
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400


@dataclass
class Settings:
    """How strict and how slow this Stripe is. All of it can be changed while it runs.

    ``rate_limit`` and ``global_rate_limit`` are calls a second (None: no limit), ``latency`` is real seconds
    before each answer. ``settlement_delay`` (a bank debit), ``search_delay`` (the search index behind the
    objects), ``idempotency_ttl`` and ``event_retention`` are seconds of the sandbox's clock.
    ``attach_declines`` makes a declining card fail when it is attached, as Stripe does for all but
    ``pm_card_chargeCustomerFail``; off, every test card can be stored and declines when it is charged.
    """

    rate_limit: float | None = 25
    global_rate_limit: float | None = None
    latency: float = 0.0
    settlement_delay: int = 4 * DAY
    search_delay: int = 60
    idempotency_ttl: int = DAY
    event_retention: int = 30 * DAY
    attach_declines: bool = False


@dataclass(frozen=True)
class RequestContext:
    """The API request on whose behalf something happens; events and ledger entries name it."""

    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass
class Account:
    """The state that all endpoints share."""

    store: Store
    clock: SandboxClock
    settings: Settings = field(default_factory=Settings)
    request: RequestContext = field(default_factory=RequestContext)

    @classmethod
    def open(cls, state_dir: Path | None = None, settings: Settings | None = None) -> Account:
        """Open a new account, or the one that ``state_dir`` holds."""
        if state_dir:
            state_dir.mkdir(parents=True, exist_ok=True)
        account = cls(Store(state_dir / "stripe.sqlite3" if state_dir else None), SandboxClock())
        account.settings = settings or account.settings
        account.clock.restore(account.store.state("clock", {}))
        account.clock.changed = account._keep_clock
        return account

    @property
    def ledger(self) -> Ledger:
        """Every charge and refund that succeeded."""
        return Ledger(self.store)

    def now(self) -> int:
        """Return the sandbox's time, Unix seconds."""
        return self.clock.now()

    @contextmanager
    def acting(self, request: RequestContext) -> Iterator[None]:
        """Open a transaction on behalf of a request."""
        with self.store.transaction():
            self.request = request
            try:
                yield
            finally:
                self.request = RequestContext()

    def find(self, kind: str, object_id: str, *, param: str = "id", in_path: bool = False) -> Doc:
        """Find an object that a request names, or raise Stripe's error for a missing one."""
        doc = self.store.get(kind, object_id)
        if doc is None:
            raise no_such(kind, object_id, param=param, in_path=in_path)
        return doc

    def mark_deleted(self, kind: str, object_id: str) -> Doc:
        """Delete an object that other objects may still name, and return its stub."""
        self.store.delete(kind, object_id)
        self.store.set_state(f"deleted {kind} {object_id}", value=True)
        return {"id": object_id, "object": kind, "deleted": True}

    def deleted(self, kind: str, object_id: str) -> Doc | None:
        """Return the stub of a deleted object, None for any other."""
        if not self.store.state(f"deleted {kind} {object_id}"):
            return None
        return {"id": object_id, "object": kind, "deleted": True}

    def make(self, kind: str, **members: Any) -> Doc:
        """Make and store a new object of a kind with these members."""
        return self.store.insert(self.draft(kind, **members))

    def draft(self, kind: str, **members: Any) -> Doc:
        """Make a new object of a kind without storing it."""
        return {"id": new_id(kind), "created": self.now(), **SHAPES[kind](), **members}

    def emit(self, event_type: str, doc: Doc) -> None:
        """Record an event with the object as it is now."""
        self.make(
            "event",
            type=event_type,
            data={"object": shown(doc)},
            request={"id": self.request.request_id, "idempotency_key": self.request.idempotency_key},
        )

    def save(self, doc: Doc, *event_types: str) -> Doc:
        """Store an object's new state and record the events that tell of it."""
        self.store.save(doc)
        for event_type in event_types:
            self.emit(event_type, doc)
        return doc

    def _keep_clock(self) -> None:
        with self.store.lock:
            self.store.set_state("clock", self.clock.state())


def client_secret(object_id: str) -> str:
    """Return what a browser would confirm a payment with."""
    return f"{object_id}_secret_{secrets.token_hex(12)}"
