"""Rate limits: a number of calls a second for each endpoint (https://docs.stripe.com/rate-limits)."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

SEARCH_LIMIT = 20


class RateLimiter:
    """Counts calls in the last second of real time; ids in a path do not make another endpoint."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._calls: dict[str, deque[float]] = defaultdict(deque)

    def admit(self, endpoint: str, per_second: float | None, overall: float | None = None) -> None:
        """Let the call in, or raise ``ApiError`` 429; a refused call does not count against the limit."""
        now = self._monotonic()
        if per_second and endpoint.endswith("/search"):
            per_second = min(per_second, SEARCH_LIMIT)
        if self._full(endpoint, per_second, now):
            raise rate_limited("endpoint-rate")
        if self._full("*", overall, now):
            raise rate_limited("global-rate")
        self._calls[endpoint].append(now)
        self._calls["*"].append(now)

    def forget(self) -> None:
        """Start counting anew."""
        self._calls.clear()

    def _full(self, name: str, limit: float | None, now: float) -> bool:
        calls = self._calls[name]
        while calls and calls[0] <= now - 1.0:
            calls.popleft()
        return bool(limit) and len(calls) >= float(limit or 0)


def rate_limited(reason: str) -> ApiError:
    """Stripe's 429."""
    return ApiError(
        429,
        "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
        code="rate_limit",
        remembered=False,
        headers={"Stripe-Rate-Limited-Reason": reason},
    )
