"""A bare client for tests: posts JSON-RPC, signs transactions, drives the control API. It never retries."""

from __future__ import annotations

import base64
import itertools
from typing import TYPE_CHECKING, Any, Self

import httpx
from solders.hash import Hash
from solders.message import Message, MessageV0
from solders.transaction import VersionedTransaction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from solders.instruction import Instruction
    from solders.keypair import Keypair


class RpcCallError(Exception):
    """The node answered with an error; `error` is its JSON."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.error = error


class RpcClient:
    """One HTTP connection to a node."""

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self.url = url
        self.http = httpx.Client(timeout=timeout, transport=httpx.HTTPTransport(retries=0))
        self._ids = itertools.count(1)

    def request(self, method: str, *params: Any) -> dict[str, Any]:
        """Return the JSON-RPC request of a call."""
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}

    def post(self, body: Any) -> httpx.Response:
        """Post any JSON."""
        return self.http.post(self.url, json=body)

    def call(self, method: str, *params: Any) -> Any:
        """Return a call's `result`; raise RpcCallError for an error, httpx errors for anything else."""
        response = self.post(self.request(method, *params)).raise_for_status().json()
        if "error" in response:
            raise RpcCallError(response["error"])
        return response["result"]

    def value(self, method: str, *params: Any) -> Any:
        """Return the `value` of a result with a context."""
        return self.call(method, *params)["value"]

    def blockhash(self, commitment: str = "processed") -> str:
        """Return the latest blockhash."""
        return str(self.value("getLatestBlockhash", {"commitment": commitment})["blockhash"])

    def sign(
        self,
        instructions: Sequence[Instruction],
        signers: Sequence[Keypair],
        *,
        blockhash: str | None = None,
        v0: bool = False,
    ) -> VersionedTransaction:
        """Sign a transaction; the first signer pays."""
        recent, payer = Hash.from_string(blockhash or self.blockhash()), signers[0].pubkey()
        message: Message | MessageV0 = (
            MessageV0.try_compile(payer, list(instructions), [], recent)
            if v0
            else Message.new_with_blockhash(list(instructions), payer, recent)
        )
        return VersionedTransaction(message, list(signers))

    def send(self, transaction: VersionedTransaction, **config: Any) -> str:
        """Send a transaction (base64) and return its signature."""
        wire = base64.b64encode(bytes(transaction)).decode()
        return str(self.call("sendTransaction", wire, {"encoding": "base64"} | config))

    def control(self, verb: str, **body: Any) -> dict[str, Any]:
        """Post to the control API."""
        answer: dict[str, Any] = (
            self.http.post(f"{self.url}_sandbox/{verb}", json=body).raise_for_status().json()
        )
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()
