"""JSON-RPC over one HTTP client: paced, batched, repeated where that is safe. Answers are plain JSON."""

from __future__ import annotations

import itertools
import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpx

from cp_ops.hooks.rate_limit import Backoff, CallLimiter, retry_after
from cp_ops.runtime.errors import RemoteConnectionLostError, RemoteRefusedError, RemoteUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from cp_ops.solana.configuration import SolanaConfiguration

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Call = tuple[str, list[Any]]
WINDOW = 10.0
"""Seconds over which nodes count calls."""
TOO_MANY = Backoff(attempts=6, first=1.0, longest=30.0)
"""After "too many requests"; a Retry-After beyond the longest pause is for the next run."""
NO_ANSWER = Backoff(attempts=6, first=0.2, longest=2.0)
"""After no answer, where a call may be repeated."""

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


class JsonRpc:
    """Calls to one node.

    :param configuration: where it is and how fast it may be called.
    """

    def __init__(
        self,
        configuration: SolanaConfiguration,
        *,
        sleep: Callable[[float], None] = time.sleep,
        attempts: int = TOO_MANY.attempts,
    ) -> None:
        self._url = configuration.rpc_url
        self._host = urlsplit(configuration.rpc_url).hostname or "the RPC node"
        self._http = httpx.Client(
            timeout=configuration.timeout,
            headers=dict(configuration.headers),
            transport=httpx.HTTPTransport(retries=0),
        )
        self._limiter = CallLimiter(
            configuration.calls_per_second_per_method or 0,
            in_total=configuration.calls_per_second or 0,
            window=WINDOW,
            sleep=sleep,
        )
        self._batch = min(configuration.batch_size, self._limiter.most or configuration.batch_size)
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
        """Calls made so far. Each item of a batch is one."""
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
        return self._repeated(lambda: self._once(calls, nullable=nullable), after_no_answer=True)

    def _repeated(self, request: Callable[[], Answer], *, after_no_answer: bool) -> Answer:
        """Make a request, again after a pause when the node is busy: then nothing has happened.

        :param after_no_answer: also when no answer came, so that it may have had its effect.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return request()
            except Busy as busy:
                self._wait(busy, attempt)
            except RemoteUnavailableError:
                if not after_no_answer or attempt >= self._attempts:
                    raise
                self._sleep(NO_ANSWER.pause(attempt))

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
        seconds = TOO_MANY.pause(attempt) if busy.seconds is None else busy.seconds
        if attempt >= self._attempts or seconds > TOO_MANY.longest:
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
        # A node counts each call of a batch.
        self._limiter.wait(*(method for method, _ in calls))
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
            # Its message may hold the URL, and the URL the provider's API key.
            raise RemoteConnectionLostError(
                f"{self._host}: {calls[0][0]}: no answer ({type(error).__name__})"
            ) from None
        return self._answers(response, [int(call["id"]) for call in body])  # type: ignore[call-overload]

    def _answers(self, response: httpx.Response, ids: list[int]) -> list[Any]:
        """Give the result of each call, in order."""
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise Busy(retry_after(response.headers))
        answers = self._parsed(response)
        for answer in answers:
            if answer.get("error") is not None:
                error = RpcError(answer["error"])
                if error.rate_limited and (seconds := retry_after(response.headers)) is not None:
                    raise Busy(seconds)
                raise error
        # The answer to a single call is told apart from no other, so its id does not matter.
        if len(ids) == 1:
            return [answers[0].get("result")]
        by_id = {answer.get("id"): answer.get("result") for answer in answers}
        if not by_id.keys() >= set(ids):
            raise RemoteConnectionLostError(f"{self._host}: a batch's answer is incomplete")
        return [by_id[one] for one in ids]

    def _parsed(self, response: httpx.Response) -> list[dict[str, Any]]:
        """Give what is in the body: JSON-RPC answers, whatever the HTTP status says."""
        status = response.status_code
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
        return answers


def parts(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Cut items into runs of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def _is_answer(answer: Any) -> bool:
    return isinstance(answer, dict) and ("result" in answer or "error" in answer)
