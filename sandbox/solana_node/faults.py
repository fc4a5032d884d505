"""Faults: what a network or a node does to a client, by method, number and preceding good calls."""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from sandbox.solana_node.chain import LANDS, Fate

if TYPE_CHECKING:
    from collections.abc import Iterator

FaultKind = Literal[
    "lost_response",  # the call takes effect, the connection closes without an answer
    "connection_reset",  # the connection closes and nothing has happened
    "rate_limited",  # 429 or -32005, see RateLimitAnswer
    "server_error",  # an HTTP status with a text body
    "html",  # a proxy's HTML page in place of JSON
    "hang",  # no answer for `seconds` (None: until the client gives up); no effect unless after_effect
    "null_result",  # {"result": null}
    "rpc_error",  # a JSON-RPC error of any code
    "slow",  # the right answer, `seconds` late
    "dropped",  # sendTransaction: accepted with a signature, never lands
    "held",  # sendTransaction: accepted, lands `seconds` of node time later (None: at release_held)
    "landed_with_error",  # sendTransaction: accepted, lands with `err`: the fee is paid, nothing moves
]
KINDS: tuple[str, ...] = get_args(FaultKind)
TRANSPORT = ("lost_response", "connection_reset", "rate_limited", "server_error", "html", "hang")
FATES = ("dropped", "held", "landed_with_error")


@dataclass(frozen=True)
class RateLimitAnswer:
    """How a provider says "too many requests".

    `status` 429 with `body` json, text or empty; or status 200, body json and `code` -32005, the other habit.
    `data` None leaves the error's data out, which is what breaks clients that expect it.
    """

    status: int = 429
    retry_after: float | None = 1.0
    body: Literal["json", "text", "empty"] = "json"
    code: int = 429
    message: str = "Too many requests for a specific RPC call"
    data: Any = None


@dataclass
class Fault:
    """One fault. `count` None means for ever; `skip` lets that many matching calls pass first.

    `address` restricts it to calls whose parameters name that address or signature; for sendTransaction, to
    transactions that use the address.
    """

    kind: FaultKind
    method: str | None = None
    count: int | None = 1
    skip: int = 0
    address: str | None = None
    status: int = 503
    body: str | None = None
    answer: RateLimitAnswer = field(default_factory=RateLimitAnswer)
    code: int = -32603
    message: str = "Internal error"
    data: Any = None
    seconds: float | None = None
    after_effect: bool = False
    err: Any = None
    number: int = 0
    seen: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; one of {', '.join(KINDS)}")
        if isinstance(self.answer, dict):
            self.answer = RateLimitAnswer(**self.answer)
        if self.kind in FATES:
            if self.method not in (None, "sendTransaction"):
                raise ValueError(f"{self.kind} happens to sendTransaction only")
            self.method = "sendTransaction"
        if self.kind == "landed_with_error" and self.err is None:
            self.err = {"InstructionError": [0, {"Custom": 1}]}
        if self.kind == "slow" and self.seconds is None:
            raise ValueError("slow needs seconds")

    @property
    def fate(self) -> Fate:
        """What this fault does to an accepted transaction."""
        if self.kind == "dropped":
            return Fate(dropped=True)
        if self.kind == "held":
            return Fate(held=True, held_seconds=self.seconds)
        return Fate(err=self.err) if self.kind == "landed_with_error" else LANDS

    @property
    def spent(self) -> bool:
        """Whether it has happened as often as it should."""
        return self.count is not None and self.hits >= self.count


class Faults:
    """The faults in force, oldest first; a call meets at most one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._numbers = itertools.count(1)

    def __iter__(self) -> Iterator[Fault]:
        return iter(list(self._faults))

    def add(self, kind: FaultKind, **options: Any) -> Fault:
        """Inject a fault; `options` are Fault's fields. Its `hits` tells how often it has happened."""
        fault = Fault(kind, **options)
        with self._lock:
            fault.number = next(self._numbers)
            self._faults.append(fault)
        return fault

    def remove(self, number: int) -> None:
        """Take one fault out."""
        with self._lock:
            self._faults = [fault for fault in self._faults if fault.number != number]

    def clear(self) -> None:
        """Take all faults out."""
        with self._lock:
            self._faults.clear()

    def meet(self, method: str, params: Any, addresses: list[str]) -> Fault | None:
        """Return the fault that this call meets, counting it; `addresses` are those of a sent transaction."""
        with self._lock:
            for fault in self._faults:
                if fault.spent or not _concerns(fault, method, params, addresses):
                    continue
                fault.seen += 1
                if fault.seen > fault.skip:
                    fault.hits += 1
                    return fault
        return None

    @property
    def active(self) -> bool:
        """Whether any fault can still happen."""
        return any(not fault.spent for fault in self._faults)


def _concerns(fault: Fault, method: str, params: Any, addresses: list[str]) -> bool:
    if fault.method not in (None, method):
        return False
    if fault.address is None:
        return True
    return fault.address in addresses or f'"{fault.address}"' in json.dumps(params)
