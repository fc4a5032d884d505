"""A sliding-window limit on calls, shared by everything in one process that talks to the same system."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 1.0
"""Seconds. At most `per_second` calls start within any window of this length."""


class CallLimiter:
    """Let at most `per_second` calls a second through, per endpoint; the others wait for their turn.

    :param per_second: calls a second and endpoint; 0 means no limit.
    """

    def __init__(
        self,
        per_second: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.per_second = per_second
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._starts: dict[str, deque[float]] = defaultdict(deque)

    def wait(self, endpoint: str) -> float:
        """Wait until a call to the endpoint may start, and count it; gives the seconds waited.

        A waiting caller has its place in the window already, so that callers in several threads do not crowd in.
        """
        if self.per_second <= 0:
            return 0.0
        with self._lock:
            now = self._monotonic()
            starts = self._starts[endpoint]
            while starts and starts[0] <= now - WINDOW:
                starts.popleft()
            places = max(1, int(self.per_second))
            pause = max(WINDOW / self.per_second, WINDOW) if self.per_second < 1 else WINDOW
            at = now if len(starts) < places else max(now, starts[len(starts) - places] + pause)
            starts.append(at)
        if at > now:
            self._sleep(at - now)
        return at - now
