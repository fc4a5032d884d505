"""An RPC node of Solana: JSON-RPC over one HTTP client, paced, batched, with typed answers.

The Rust parser behind solana-py's client ends the process on a rate-limit answer without data and reads unknown error
codes as integers; here the answers are plain JSON, and solders is not involved.
"""

from __future__ import annotations

import base64
import itertools
import logging
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpx

from cp_ops.runtime.errors import (
    ConnectionInvalidError,
    RemoteConnectionLostError,
    RemoteRefusedError,
    RemoteUnavailableError,
)
from cp_ops.solana.configuration import SolanaConfiguration
from cp_ops.solana.rpc import Account, Blockhash, SignatureInfo, SignatureStatus, TransactionRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from cp_ops.solana.configuration import Commitment

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Call = tuple[str, list[Any]]
WINDOW = 10.0
"""Seconds over which nodes count calls."""
ACCOUNTS_PER_CALL = 100
STATUSES_PER_CALL = 256
ATTEMPTS = 6
"""How often a call is made before a node counts as unavailable."""
LONGEST_WAIT = 30.0
"""Seconds; a Retry-After beyond it is for the next run."""
BLOCKS_BACK = 4
"""A slot can be skipped: how many slots to go back for one with a block time."""

PREFLIGHT_FAILURE = -32002
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


class _Busy(Exception):  # noqa: N818 - an internal signal, not an error that leaves this module
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


class SolanaRpc:
    """A node, as `cp_ops.solana.rpc.Rpc` describes it.

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

    # -- reads ---------------------------------------------------------------------------------------------------

    def accounts(self, addresses: Sequence[str], commitment: Commitment) -> list[Account | None]:
        """Read accounts, 100 a call."""
        config = {"encoding": "base64", "commitment": commitment}
        calls: list[Call] = [
            ("getMultipleAccounts", [list(part), config]) for part in _parts(addresses, ACCOUNTS_PER_CALL)
        ]
        answers = self._many(calls)
        return [_account(found) for answer in answers for found in answer["value"]]

    def token_accounts(self, owner: str, program: str, commitment: Commitment) -> list[tuple[str, Account]]:
        """List an owner's token accounts of one token program."""
        config = {"encoding": "base64", "commitment": commitment}
        answer = self._one("getTokenAccountsByOwner", [owner, {"programId": program}, config])
        found = [(entry["pubkey"], _account(entry["account"])) for entry in answer["value"]]
        return [(address, account) for address, account in found if account is not None]

    def histories(
        self, addresses: Sequence[str], commitment: Commitment, *, limit: int = 1000
    ) -> list[list[SignatureInfo]]:
        """Read the newest signatures that mention each address, newest first."""
        config = {"limit": limit, "commitment": commitment}
        answers = self._many([("getSignaturesForAddress", [address, config]) for address in addresses])
        return [
            [
                SignatureInfo(
                    line["signature"], line["slot"], line.get("blockTime"), line.get("err") is not None
                )
                for line in answer
            ]
            for answer in answers
        ]

    def transactions(self, signatures: Sequence[str], commitment: Commitment) -> list[dict[str, Any] | None]:
        """Read landed transactions in jsonParsed form; None for one that the node does not know."""
        config = {"encoding": "jsonParsed", "commitment": commitment, "maxSupportedTransactionVersion": 0}
        return self._many(
            [("getTransaction", [signature, config]) for signature in signatures], nullable=True
        )

    def statuses(self, signatures: Sequence[str]) -> list[SignatureStatus | None]:
        """Look up sent transactions in the whole history, 256 a call; None for those that never landed."""
        config = {"searchTransactionHistory": True}
        calls: list[Call] = [
            ("getSignatureStatuses", [list(part), config]) for part in _parts(signatures, STATUSES_PER_CALL)
        ]
        return [
            None
            if line is None
            else SignatureStatus(line.get("confirmationStatus") or "finalized", line["err"])
            for answer in self._many(calls)
            for line in answer["value"]
        ]

    def latest_blockhash(self, commitment: Commitment) -> Blockhash:
        """Get a blockhash to sign with."""
        value = self._one("getLatestBlockhash", [{"commitment": commitment}])["value"]
        return Blockhash(value["blockhash"], int(value["lastValidBlockHeight"]))

    def block_height(self, commitment: Commitment) -> int:
        """Get the height of the newest block."""
        return int(self._one("getBlockHeight", [{"commitment": commitment}]))

    def block_time(self, commitment: Commitment) -> int | None:
        """Get the time of the newest block, in seconds since 1970; None when the node does not know it."""
        slot = int(self._one("getSlot", [{"commitment": commitment}]))
        for back in range(BLOCKS_BACK):
            try:
                answer = self._one("getBlockTime", [slot - back], nullable=True)
            except RemoteRefusedError as error:
                if not isinstance(error.__cause__, RpcError) or error.__cause__.code not in BLOCK_UNKNOWN:
                    raise
                continue
            if answer is not None:
                return int(answer)
        return None

    def rent_exemption(self, size: int) -> int:
        """Get the lamports that an account of `size` bytes must hold."""
        return int(self._one("getMinimumBalanceForRentExemption", [size]))

    def recent_priority_fees(self, writable: Sequence[str]) -> list[int]:
        """Get what recent blocks took for writing to these accounts, in micro-lamports per compute unit."""
        return [
            int(line["prioritizationFee"])
            for line in self._one("getRecentPrioritizationFees", [list(writable)])
        ]

    # -- sending -------------------------------------------------------------------------------------------------

    def send(self, wire: bytes, commitment: Commitment) -> None:
        """Hand over a signed transaction; see `Rpc.send`. Only "too many requests" is waited out."""
        config = {
            "encoding": "base64",
            "skipPreflight": False,
            "preflightCommitment": commitment,
            "maxRetries": 0,
        }
        call: Call = ("sendTransaction", [base64.b64encode(wire).decode(), config])
        for attempt in range(1, self._attempts + 1):
            try:
                answer = self._post([call])[0]
            except _Busy as busy:
                self._wait(busy, attempt)
            except RpcError as error:
                if error.rate_limited:
                    self._wait(_Busy(None), attempt)
                    continue
                err = error.data.get("err") if isinstance(error.data, dict) else None
                if err == "AlreadyProcessed" or "already been processed" in error.message:
                    return
                if error.code == PREFLIGHT_FAILURE:
                    raise TransactionRejectedError(err, error.message) from None
                if error.code in REFUSALS:
                    raise TransactionRejectedError(err or {"RpcError": error.code}, error.message) from None
                raise RemoteConnectionLostError(
                    f"{self._host}: sendTransaction answered with error {error.code}: it may or may not have arrived"
                ) from None
            else:
                if not isinstance(answer, str):
                    raise RemoteConnectionLostError(
                        f"{self._host}: sendTransaction answered without a signature: it may or may not have arrived"
                    )
                return

    # -- JSON-RPC ------------------------------------------------------------------------------------------------

    def _one(self, method: str, params: list[Any], *, nullable: bool = False) -> Any:
        return self._many([(method, params)], nullable=nullable)[0]

    def _many(self, calls: Sequence[Call], *, nullable: bool = False) -> list[Any]:
        return [
            answer for part in _parts(calls, self._batch) for answer in self._read(part, nullable=nullable)
        ]

    def _read(self, calls: Sequence[Call], *, nullable: bool) -> list[Any]:
        """Make calls that may be repeated: again after a pause when the node is busy or did not answer."""
        for attempt in range(1, self._attempts + 1):
            try:
                return self._once(calls, nullable=nullable)
            except _Busy as busy:
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
                raise _Busy(None) from None
            refused = error.code in REFUSALS | BLOCK_UNKNOWN
            kind = RemoteRefusedError if refused else RemoteUnavailableError
            raise kind(f"{self._host}: {method} failed: {error}") from error
        if not nullable and any(answer is None for answer in answers):
            raise RemoteUnavailableError(f"{self._host}: {method} answered with nothing")
        return answers

    def _wait(self, busy: _Busy, attempt: int) -> None:
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

        :raises _Busy: the node refused for now; nothing has happened.
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
            raise _Busy(_retry_after(response))
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
                    raise _Busy(seconds)
                raise error
        by_id = {answer.get("id"): answer.get("result") for answer in answers}
        if len(ids) == 1:
            return [answers[0].get("result")]
        if not by_id.keys() >= set(ids):
            raise RemoteConnectionLostError(f"{self._host}: a batch's answer is incomplete")
        return [by_id[one] for one in ids]


def connect(conn_id: str) -> SolanaConfiguration:
    """Read and check Airflow connection `conn_id`.

    :raises ConnectionInvalidError: when it is not defined, or naming the first wrong field.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException
    from airflow.sdk.log import mask_secret

    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise ConnectionInvalidError(
            f"Airflow connection {conn_id!r} is not defined: its host is the RPC node's URL, its password the fee "
            "payer's key (docs/solana.md)"
        ) from None
    try:
        extra = connection.extra_dejson
    except ValueError:
        raise ConnectionInvalidError(
            f"Airflow connection {conn_id!r}, extra: must be a JSON object"
        ) from None
    keys = extra.get("wallet_encryption_keys") or ()
    for secret in [connection.password, *(keys if isinstance(keys, list | tuple) else str(keys).split(","))]:
        if secret:
            mask_secret(str(secret))
    reserved = {"rpc_url", "fee_payer"} & set(extra)
    if reserved:
        raise ConnectionInvalidError(
            f"Airflow connection {conn_id!r}: {', '.join(sorted(reserved))} belong in host and password, not in extra"
        )
    return SolanaConfiguration.of(
        conn_id, {"rpc_url": _url(connection), "fee_payer": connection.password or "", **extra}
    )


def _url(connection: Any) -> str:
    host = connection.host or ""
    if "://" in host:
        return str(host)
    scheme = connection.schema or ("http" if connection.port else "https")
    return f"{scheme}://{host}" + (f":{connection.port}/" if connection.port else "/") if host else ""


def _parts(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _is_answer(answer: Any) -> bool:
    return isinstance(answer, dict) and ("result" in answer or "error" in answer)


def _account(found: Any) -> Account | None:
    if found is None:
        return None
    return Account(int(found["lamports"]), found["owner"], base64.b64decode(found["data"][0]))


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None
