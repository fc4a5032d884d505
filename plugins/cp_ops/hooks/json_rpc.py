"""JSON-RPC over one HTTP client: paced, batched, repeated where that is safe. Answers are plain JSON."""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpx

from cp_ops.runtime.errors import RemoteConnectionLostError, RemoteRefusedError, RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from cp_ops.solana.configuration import SolanaConfiguration

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Call = tuple[str, list[Any]]
WINDOW = 10.0
"""Seconds over which nodes count calls."""
ATTEMPTS = 6
"""How often a call is made before a node counts as unavailable."""
LONGEST_WAIT = 30.0
"""Seconds; a Retry-After beyond it is for the next run."""

NODE_UNHEALTHY = -32005
RATE_LIMITS = frozenset({429, -32429, -32029, -32097})
BLOCK_UNKNOWN = frozenset({-32004, -32007, -32009, -32001})
REFUSALS = frozenset({-32600, -32601, -32602, -32700, -32003, -32013, -32015})
"""A request that this node will not take however often it is made."""
DENIALS = frozenset({400, 401, 403, 404, 405, 413, 415})


class RpcError(Exception):
    """A JSON-RPC error object."""

    def __init__(self, error: Any) -> None:
        self.code = int(error.get("code", 0)) if isinstance(error, dict) else 0
        self.message = str(error.get("message", "")) if isinstance(error, dict) else ""
        self.data = error.get("data") if isinstance(error, dict) else None
        super().__init__(f"{self.code} {self.message}")

    @property
    def rate_limited(self) -> bool:
        """Whether this is how a provider says "too many requests": -32005 without a health report, or a code of its own."""
        unhealthy = isinstance(self.data, dict) and "numSlotsBehind" in self.data
        return self.code in RATE_LIMITS or (self.code == NODE_UNHEALTHY and not unhealthy)


class Busy(Exception):  # noqa: N818 - a signal between the client's methods, not an error that leaves them
    """The node asked to come back after some seconds: nothing has happened."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds


class Pace:
    """Keeps calls within a rate, counted over windows of 10 s as nodes count them: in total and per method."""

    def __init__(
        self,
        calls_per_second: float | None,
        per_method: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._total = None if calls_per_second is None else max(1, int(calls_per_second * WINDOW))
        self._per_method = None if per_method is None else max(1, int(per_method * WINDOW))
        self._clock, self._sleep = clock, sleep
        self._taken: deque[tuple[float, str]] = deque()
        self._by_method: Counter[str] = Counter()

    @property
    def most(self) -> int | None:
        """The most calls of one method that can ever be made at once."""
        limits = [limit for limit in (self._total, self._per_method) if limit is not None]
        return min(limits) if limits else None

    def take(self, methods: Sequence[str]) -> None:
        """Wait until these calls fit, then count them."""
        if self._total is None and self._per_method is None:
            return
        asked = Counter(methods)
        while (wait := self._wait(asked)) > 0:
            self._sleep(wait)
        now = self._clock()
        self._taken.extend((now, method) for method in methods)
        self._by_method.update(asked)

    def _wait(self, asked: Counter[str]) -> float:
        now = self._clock()
        while self._taken and self._taken[0][0] <= now - WINDOW:
            self._by_method[self._taken.popleft()[1]] -= 1
        gone: Counter[str] = Counter()
        if self._fits(asked, gone):
            return 0.0
        for at, method in self._taken:
            gone[method] += 1
            if self._fits(asked, gone):
                return max(0.001, at + WINDOW - now)
        return WINDOW

    def _fits(self, asked: Counter[str], gone: Counter[str]) -> bool:
        total = len(self._taken) - gone.total() + asked.total()
        if self._total is not None and total > self._total:
            return False
        return self._per_method is None or all(
            self._by_method[method] - gone[method] + count <= self._per_method
            for method, count in asked.items()
        )


class JsonRpc:
    """Calls to one node.

    :param configuration: where it is and how fast it may be called.
    """

    def __init__(
        self,
        configuration: SolanaConfiguration,
        *,
        sleep: Callable[[float], None] = time.sleep,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._url = configuration.rpc_url
        self._host = urlsplit(configuration.rpc_url).hostname or "the RPC node"
        self._http = httpx.Client(
            timeout=configuration.timeout,
            headers=dict(configuration.headers),
            transport=httpx.HTTPTransport(retries=0),
        )
        self._pace = Pace(
            configuration.calls_per_second, configuration.calls_per_second_per_method, sleep=sleep
        )
        self._batch = min(configuration.batch_size, self._pace.most or configuration.batch_size)
        self._sleep = sleep
        self._attempts = attempts
        self._pause = 0.0
        self._ids = itertools.count(1)
        self._calls = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    @property
    def calls(self) -> int:
        """Calls made so far; each item of a batch is one."""
        return self._calls

    def pause_between_requests(self, seconds: float) -> None:
        """Wait this long between two HTTP requests."""
        self._pause = seconds

    # -- JSON-RPC ------------------------------------------------------------------------------------------------

    def _one(self, method: str, params: list[Any], *, nullable: bool = False) -> Any:
        return self._many([(method, params)], nullable=nullable)[0]

    def _many(self, calls: Sequence[Call], *, nullable: bool = False) -> list[Any]:
        return [
            answer for part in parts(calls, self._batch) for answer in self._read(part, nullable=nullable)
        ]

    def _read(self, calls: Sequence[Call], *, nullable: bool) -> list[Any]:
        """Make calls that may be repeated: again after a pause when the node is busy or did not answer."""
        for attempt in range(1, self._attempts + 1):
            try:
                return self._once(calls, nullable=nullable)
            except Busy as busy:
                self._wait(busy, attempt)
            except RemoteUnavailableError:
                if attempt == self._attempts:
                    raise
                self._sleep(min(2.0, 0.1 * 2**attempt))
        raise RemoteUnavailableError(f"{self._host}: {calls[0][0]}: no answer")

    def _once(self, calls: Sequence[Call], *, nullable: bool) -> list[Any]:
        """Make calls once, and say of an error whether it passes."""
        method = calls[0][0]
        try:
            answers = self._post(calls)
        except RpcError as error:
            if error.rate_limited:
                raise Busy(None) from None
            refused = error.code in REFUSALS | BLOCK_UNKNOWN
            kind = RemoteRefusedError if refused else RemoteUnavailableError
            raise kind(f"{self._host}: {method} failed: {error}") from error
        if not nullable and any(answer is None for answer in answers):
            raise RemoteUnavailableError(f"{self._host}: {method} answered with nothing")
        return answers

    def _wait(self, busy: Busy, attempt: int) -> None:
        seconds = min(0.5 * 2**attempt, LONGEST_WAIT) if busy.seconds is None else busy.seconds
        if attempt >= self._attempts or seconds > LONGEST_WAIT:
            raise RemoteUnavailableError(
                f"{self._host}: too many requests; it asks to come back after {seconds:g} s. "
                "Set calls_per_second in the connection, or sleep"
            )
        log.info("%s: too many requests, waiting %.1f s", self._host, seconds)
        self._sleep(seconds)

    def _post(self, calls: Sequence[Call]) -> list[Any]:
        """Make calls once, in one HTTP request.

        :raises Busy: the node refused for now; nothing has happened.
        :raises RpcError: the node answered one of the calls with an error.
        :raises RemoteConnectionLostError: no usable answer.
        :raises RemoteRefusedError: the node does not admit this client.
        """
        self._pace.take([method for method, _ in calls])
        if self._pause:
            self._sleep(self._pause)
        self._calls += len(calls)
        body = [
            {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
            for method, params in calls
        ]
        try:
            response = self._http.post(self._url, json=body if len(body) > 1 else body[0])
        except httpx.HTTPError as error:
            raise RemoteConnectionLostError(
                f"{self._host}: {calls[0][0]}: no answer ({type(error).__name__})"
            ) from None
        return self._answers(response, [int(call["id"]) for call in body])  # type: ignore[call-overload]

    def _answers(self, response: httpx.Response, ids: list[int]) -> list[Any]:
        status = response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS:
            raise Busy(_retry_after(response))
        try:
            parsed = response.json()
        except ValueError:
            parsed = None
        if status in DENIALS and not _is_answer(parsed):
            raise RemoteRefusedError(
                f"{self._host} refused with HTTP status {status}: check the URL and its key"
            )
        answers = parsed if isinstance(parsed, list) else [parsed]
        if not answers or not all(map(_is_answer, answers)):
            raise RemoteConnectionLostError(f"{self._host}: HTTP status {status} without a JSON-RPC answer")
        for answer in answers:
            if answer.get("error") is not None:
                error = RpcError(answer["error"])
                if error.rate_limited and (seconds := _retry_after(response)) is not None:
                    raise Busy(seconds)
                raise error
        by_id = {answer.get("id"): answer.get("result") for answer in answers}
        if len(ids) == 1:
            return [answers[0].get("result")]
        if not by_id.keys() >= set(ids):
            raise RemoteConnectionLostError(f"{self._host}: a batch's answer is incomplete")
        return [by_id[one] for one in ids]


def parts(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Cut items into runs of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def _is_answer(answer: Any) -> bool:
    return isinstance(answer, dict) and ("result" in answer or "error" in answer)


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None
