"""The sandbox's clock: real time plus an offset, or frozen, so that a test decides what a day is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class SandboxClock:
    """Unix seconds, UTC. It ticks with real time until ``freeze``; it never moves backwards by itself.

    Rate limits, simulated latency and hangs run on real time: they are about the wire, not about the world.
    """

    offset: float = 0.0
    frozen_at: float | None = None
    changed: Callable[[], None] | None = None

    def now(self) -> int:
        """Return the time of the sandbox in whole seconds."""
        return int(time.time() + self.offset if self.frozen_at is None else self.frozen_at)

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> int:
        """Move forward; what fell due in between (a debit that settles) happens before the next answer."""
        span = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        if span < 0:
            raise ValueError("the clock only advances; use set() to go to another time")
        if self.frozen_at is None:
            self.offset += span
        else:
            self.frozen_at += span
        return self._announce()

    def set(self, timestamp: float) -> int:
        """Go to a time; a frozen clock stays frozen there."""
        if self.frozen_at is None:
            self.offset = timestamp - time.time()
        else:
            self.frozen_at = timestamp
        return self._announce()

    def freeze(self, timestamp: float | None = None) -> int:
        """Stop at ``timestamp`` (default: now)."""
        self.frozen_at = float(self.now() if timestamp is None else timestamp)
        return self._announce()

    def resume(self) -> int:
        """Tick again from where the clock stands."""
        if self.frozen_at is not None:
            self.offset, self.frozen_at = self.frozen_at - time.time(), None
        return self._announce()

    def state(self) -> dict[str, float | None]:
        """Return what has to be kept to restore the clock after a restart."""
        return {"offset": self.offset, "frozen_at": self.frozen_at}

    def restore(self, state: dict[str, float | None]) -> None:
        """Take over a state made by ``state``."""
        self.offset, self.frozen_at = state.get("offset") or 0.0, state.get("frozen_at")

    def _announce(self) -> int:
        if self.changed is not None:
            self.changed()
        return self.now()
