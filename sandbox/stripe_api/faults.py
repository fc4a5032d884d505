"""Faults to order: what goes wrong, at which endpoint, how often, before or after the effect."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .shapes import Doc

FaultKind = Literal["drop", "error", "rate_limit", "hang", "delay"]
KINDS_OF_FAULT = ("drop", "error", "rate_limit", "hang", "delay")


@dataclass
class Fault:
    """One order.

    endpoint: ``POST /v1/payment_intents/{id}/confirm`` as the counters name it, or ``*`` for all.
    kind: ``drop`` resets the connection; ``error`` answers ``status`` (500); ``rate_limit`` answers 429;
        ``hang`` answers nothing for ``seconds`` and then drops; ``delay`` answers ``seconds`` later.
    when: ``before`` the effect (nothing happens) or ``after`` it (it happened and the caller does not know).
        A ``rate_limit`` is always before.
    count: how many matching calls it hits, None for all; the first ``skip`` matching calls are spared.
    match: parameters that the call must have (``{"customer": "cus_1", "metadata": {"invoice_id": "7"}}``).
    remembered: with ``error`` after the effect: the idempotency key replays the error instead of the result.
        Stripe's documentation allows both.
    """

    endpoint: str
    kind: FaultKind
    when: Literal["before", "after"] = "before"
    count: int | None = 1
    skip: int = 0
    status: int = 500
    seconds: float = 60.0
    match: Doc = field(default_factory=dict)
    remembered: bool = False
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS_OF_FAULT or self.when not in ("before", "after"):
            raise ValueError(f"no such fault: {self.kind} {self.when}")
        if self.kind == "rate_limit" and self.when == "after":
            raise ValueError("a rate-limited call has no effect, so the fault comes before it")

    def matches(self, endpoint: str, params: Doc) -> bool:
        """Whether the call is one that this fault is about."""
        return self.endpoint in ("*", endpoint) and _within(self.match, params)

    def error(self) -> ApiError:
        """Return the answer of an ``error`` fault."""
        return ApiError(
            self.status,
            "An unknown error occurred.",
            kind="api_error",
            remembered=self.remembered and self.when == "after",
        )


def _within(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(_within(v, whole.get(k)) for k, v in part.items())
    return str(part) == str(whole)


class Faults:
    """The orders that are open, in the order in which they were given."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Fault] = []

    def __iter__(self) -> Iterator[Fault]:
        with self._lock:
            return iter(list(self._open))

    def add(self, endpoint: str, kind: FaultKind, **options: Any) -> Fault:
        """Order a fault; the returned object counts its ``hits``."""
        fault = Fault(endpoint, kind, **options)
        with self._lock:
            self._open.append(fault)
        return fault

    def clear(self) -> None:
        """Withdraw all orders."""
        with self._lock:
            self._open.clear()

    def take(self, endpoint: str, params: Doc) -> Fault | None:
        """Return the fault that this call meets, counted; one call meets at most one."""
        with self._lock:
            for fault in self._open:
                if not fault.matches(endpoint, params):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.hits += 1
                if fault.count is not None and fault.hits >= fault.count:
                    self._open.remove(fault)
                return fault
        return None

    def as_list(self) -> list[Doc]:
        """Return the open orders for JSON."""
        return [asdict(fault) for fault in self]
