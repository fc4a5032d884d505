"""Reading the positional parameters of a JSON-RPC call, with a node's own complaints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from solders.pubkey import Pubkey
from solders.signature import Signature

from sandbox.solana_node.clock import COMMITMENTS, Commitment
from sandbox.solana_node.errors import MIN_CONTEXT_SLOT_NOT_REACHED, RpcError, invalid_params

if TYPE_CHECKING:
    from sandbox.solana_node.state import NodeState

API_VERSION = "3.1.8"
Config = Mapping[str, Any]


class Params:
    """The parameters of one call."""

    def __init__(self, node: NodeState, values: Any) -> None:
        if values is None:
            values = []
        if not isinstance(values, list):
            raise invalid_params("Invalid params: invalid type: map, expected a sequence.")
        self._node = node
        self._values = values

    def required(self, index: int, kind: type, name: str) -> Any:
        """Return a parameter of a JSON type."""
        if index >= len(self._values):
            raise invalid_params(f"`params` should have at least {index + 1} argument(s)")
        value = self._values[index]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise invalid_params(f"Invalid params: invalid type: {type(value).__name__}, expected {name}.")
        return value

    def given(self, index: int) -> bool:
        """Whether an optional parameter is there."""
        return index < len(self._values) and self._values[index] is not None

    def pubkey(self, index: int) -> Pubkey:
        """Return an address."""
        return pubkey(self.required(index, str, "a string"))

    def signature(self, index: int) -> str:
        """Return a transaction signature, checked."""
        return signature(self.required(index, str, "a string"))

    def config(self, index: int) -> Config:
        """Return the optional configuration object; a minContextSlot that is ahead is an error."""
        value = self._values[index] if index < len(self._values) else None
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise invalid_params(f"Invalid params: invalid type: {type(value).__name__}, expected a map.")
        wanted = value.get("minContextSlot")
        if wanted is not None:
            slot = self._node.clock.slot(commitment(value))
            if slot < wanted:
                raise RpcError(
                    MIN_CONTEXT_SLOT_NOT_REACHED,
                    "Minimum context slot has not been reached",
                    {"contextSlot": slot},
                )
        return value


def pubkey(text: str) -> Pubkey:
    """Return an address; raise RpcError as a node does."""
    try:
        return Pubkey.from_string(text)
    except ValueError as error:
        raise invalid_params(
            "Invalid param: Invalid" if "nvalid" in str(error) else "Invalid param: WrongSize"
        ) from error


def signature(text: str) -> str:
    """Return a signature's text; raise RpcError when it is none."""
    try:
        return str(Signature.from_string(text))
    except ValueError as error:
        raise invalid_params("Invalid param: WrongSize") from error


def commitment(config: Config, name: str = "commitment") -> Commitment:
    """Return the commitment that the client asks for; a node's default is finalized."""
    wanted = config.get(name) or "finalized"
    for known in COMMITMENTS:
        if wanted == known:
            return known
    raise invalid_params(
        f"Invalid params: unknown variant `{wanted}`, expected one of `processed`, `confirmed`, `finalized`."
    )


def confirmed_or_more(config: Config) -> Commitment:
    """Return the commitment for history calls, which do not know processed."""
    wanted = commitment(config)
    if wanted == "processed":
        raise invalid_params("Method does not support commitment below `confirmed`")
    return wanted


def with_context(node: NodeState, level: Commitment, value: Any) -> dict[str, Any]:
    """Wrap a value with the slot that it was read at."""
    return {"context": {"apiVersion": API_VERSION, "slot": node.clock.slot(level)}, "value": value}
