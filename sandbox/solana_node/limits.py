"""Rate limits of a public node, and the counters of calls that benchmarks and tests read."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from sandbox.solana_node.faults import RateLimitAnswer


@dataclass
class RateLimits:
    """At most `calls` in any `window` seconds of real time, and at most `per_method` of one method.

    The public mainnet limits are 100 and 40 in 10 s. Items of a batch count one by one; refused requests do
    not. `answer` says how a refusal looks; its Retry-After is when the request would fit.
    """

    calls: int | None = None
    per_method: int | None = None
    window: float = 10.0
    answer: RateLimitAnswer = field(default_factory=RateLimitAnswer)
    _taken: deque[tuple[float, str]] = field(default_factory=deque, repr=False)
    _by_method: Counter[str] = field(default_factory=Counter, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.answer, dict):
            self.answer = RateLimitAnswer(**self.answer)

    def take(self, methods: list[str]) -> float | None:
        """Count a request of these calls and return None, or return the whole seconds to wait."""
        if self.calls is None and self.per_method is None:
            return None
        now = time.monotonic()
        while self._taken and self._taken[0][0] <= now - self.window:
            self._by_method[self._taken.popleft()[1]] -= 1
        asked = Counter(methods)
        if self._fits(asked):
            for method in methods:
                self._taken.append((now, method))
            self._by_method.update(asked)
            return None
        return max(1.0, math.ceil(self._wait(asked) - now))

    def _fits(self, asked: Counter[str], gone: Counter[str] | None = None) -> bool:
        gone = gone or Counter()
        total = len(self._taken) - gone.total() + asked.total()
        if self.calls is not None and total > self.calls:
            return False
        return self.per_method is None or all(
            self._by_method[method] - gone[method] + count <= self.per_method
            for method, count in asked.items()
        )

    def _wait(self, asked: Counter[str]) -> float:
        gone: Counter[str] = Counter()
        for at, method in self._taken:
            gone[method] += 1
            if self._fits(asked, gone):
                return at + self.window
        return time.monotonic() + self.window


class Calls:
    """How many calls of each method came in, over how many HTTP requests, and how many were refused."""

    def __init__(self) -> None:
        self.by_method: Counter[str] = Counter()
        self.requests = 0
        self.rate_limited = 0

    def __getitem__(self, method: str) -> int:
        return self.by_method[method]

    @property
    def total(self) -> int:
        """All calls, items of batches one by one, refused ones included."""
        return self.by_method.total()

    def reset(self) -> None:
        """Start counting from zero."""
        self.by_method.clear()
        self.requests = self.rate_limited = 0

    def to_json(self) -> dict[str, object]:
        """Return the counters."""
        return {
            "total": self.total,
            "requests": self.requests,
            "rate_limited": self.rate_limited,
            "by_method": dict(self.by_method.most_common()),
        }
