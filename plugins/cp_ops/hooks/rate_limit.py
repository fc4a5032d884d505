"""How fast an outside system may be called, and how long to wait when it says "too many requests"."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SECONDS = re.compile(r"\d+(\.\d+)?")


class CallLimiter:
    """A sliding-window limit on calls, shared by everything in one process that talks to the same system.

    No window holds more calls than the limits allow: neither of one kind, such as an endpoint, nor in total. A call
    beyond them waits for its turn.

    :param per_second: calls a second of one kind; 0 means no limit.
    :param in_total: calls a second of all kinds together; 0 means no limit.
    :param window: seconds over which the system counts. A limit below one call a window gets a longer one.
    """

    def __init__(
        self,
        per_second: float,
        *,
        in_total: float = 0,
        window: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.per_second = per_second
        self._window = window
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._total = _Window(in_total, window)
        self._by_kind: dict[str, _Window] = {}

    @property
    def most(self) -> int | None:
        """The most calls of one kind that can ever be made at once; None without a limit."""
        places = [limit.places for limit in (self._total, self._window_of("")) if limit.places]
        return min(places) if places else None

    def wait(self, *kinds: str) -> float:
        """Wait until these calls may start together, and count them; gives the seconds waited.

        A waiting caller has its place in the window already, so that callers in several threads do not crowd in.

        :param kinds: the kind of each call.
        """
        with self._lock:
            now = self._monotonic()
            asked = [(self._total, len(kinds))]
            asked += [(self._window_of(kind), calls) for kind, calls in Counter(kinds).items()]
            at = max(limit.earliest(calls, now) for limit, calls in asked)
            # Counted before the caller sleeps, at the instant at which it will start: this is its place in the queue.
            for limit, calls in asked:
                limit.count(calls, at)
        if at > now:
            self._sleep(at - now)
        return at - now

    def _window_of(self, kind: str) -> _Window:
        return self._by_kind.setdefault(kind, _Window(self.per_second, self._window))


class _Window:
    """The starts of the calls that one limit counts, in order."""

    def __init__(self, per_second: float, seconds: float) -> None:
        self.places = max(1, int(per_second * seconds)) if per_second > 0 else 0
        self._seconds = max(seconds, 1 / per_second) if per_second > 0 else 0.0
        self._starts: deque[float] = deque()

    def earliest(self, calls: int, now: float) -> float:
        """Give the first instant from now on at which these calls fit."""
        while self._starts and self._starts[0] <= now - self._seconds:
            self._starts.popleft()
        too_many = len(self._starts) + calls - self.places
        if not self.places or too_many <= 0:
            return now
        # So many of the oldest calls must have left the window. More calls than there are places wait for all of them.
        return max(now, self._starts[min(too_many, len(self._starts)) - 1] + self._seconds)

    def count(self, calls: int, at: float) -> None:
        if self.places:
            self._starts.extend([at] * calls)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a request is made again.

    :param attempts: how often a request is made in all.
    :param first: seconds before the second attempt; twice as long before each further one.
    :param longest: the longest such pause, in seconds.
    :param jitter: by how large a share of itself a pause is made longer or shorter, so that callers do not return at once.
    """

    attempts: int
    first: float
    longest: float = 30.0
    jitter: float = 0.0

    def pause(self, attempt: int) -> float:
        """Give the seconds to wait after an attempt.

        :param attempt: its number, from 1.
        """
        seconds = min(self.first * 2.0 ** (attempt - 1), self.longest)
        return seconds * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - jitter


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Give the seconds that an answer asks to wait, by its header Retry-After; None when it does not say.

    A date, which the header may hold as well, counts as not said: the other side's clock is not ours.
    """
    given = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return float(given) if SECONDS.fullmatch(given.strip()) else None
