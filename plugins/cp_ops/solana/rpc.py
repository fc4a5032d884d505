"""What the domain asks of an RPC node, and the answers' types. The client is `cp_ops.hooks.solana_rpc`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cp_ops.runtime.errors import RowFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cp_ops.solana.configuration import Commitment


@dataclass(frozen=True, slots=True)
class Account:
    """An account as getMultipleAccounts shows it; `data` is raw."""

    lamports: int
    owner: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SignatureInfo:
    """One line of an address's history. `block_time` is seconds since 1970, UTC."""

    signature: str
    slot: int
    block_time: int | None
    failed: bool


@dataclass(frozen=True, slots=True)
class SignatureStatus:
    """What became of a sent transaction: the commitment it has reached, and the error it landed with."""

    commitment: Commitment
    err: Any


@dataclass(frozen=True, slots=True)
class Blockhash:
    """A recent blockhash; transactions with it can land until `last_valid_block_height`."""

    hash: str
    last_valid_block_height: int


class TransactionRejectedError(RowFailedError):
    """The node refused a transaction before it could land: its simulation failed. Nothing was charged.

    :param err: the node's JSON, such as ``{"InstructionError": [2, {"Custom": 1}]}``.
    """

    def __init__(self, err: Any, message: str = "") -> None:
        self.err = err
        super().__init__(f"rejected by the node: {message or err}")

    @property
    def instruction(self) -> int | None:
        """The index of the failing instruction, where the node names one."""
        if isinstance(self.err, dict) and isinstance(found := self.err.get("InstructionError"), list):
            return int(found[0])
        return None

    @property
    def account(self) -> int | None:
        """The index of the account that would be left below the rent floor, where the node names one."""
        if isinstance(self.err, dict) and isinstance(found := self.err.get("InsufficientFundsForRent"), dict):
            return int(found["account_index"])
        return None


class Rpc(Protocol):
    """A Solana node over JSON-RPC. Calls are paced, retried where that is safe, and counted.

    Every method raises RemoteUnavailableError when the node does not answer in spite of retries, and
    RemoteRefusedError when it refuses for good.
    """

    @property
    def calls(self) -> int:
        """Calls made so far; each item of a batch is one."""

    def pause_between_requests(self, seconds: float) -> None:
        """Wait this long between two HTTP requests."""

    def accounts(self, addresses: Sequence[str], commitment: Commitment) -> list[Account | None]:
        """Read accounts, 100 a call."""

    def token_accounts(
        self, owners: Sequence[str], programs: Sequence[str], commitment: Commitment
    ) -> list[list[tuple[str, Account]]]:
        """List each owner's token accounts of these token programs: a call for each owner and program."""

    def histories(
        self, addresses: Sequence[str], commitment: Commitment, *, limit: int = 1000
    ) -> list[list[SignatureInfo]]:
        """Read the newest signatures that mention each address, newest first."""

    def transactions(self, signatures: Sequence[str], commitment: Commitment) -> list[dict[str, Any] | None]:
        """Read landed transactions in jsonParsed form."""

    def statuses(self, signatures: Sequence[str]) -> list[SignatureStatus | None]:
        """Look up sent transactions in the whole history, 256 a call; None for those that never landed."""

    def latest_blockhash(self, commitment: Commitment) -> Blockhash:
        """Get a blockhash to sign with."""

    def block_height(self, commitment: Commitment) -> int:
        """Get the height of the newest block."""

    def block_time(self, commitment: Commitment) -> int | None:
        """Get the time of the newest block, in seconds since 1970; None when the node does not know it."""

    def rent_exemption(self, size: int) -> int:
        """Get the lamports that an account of `size` bytes must hold."""

    def recent_priority_fees(self, writable: Sequence[str]) -> list[int]:
        """Get what recent blocks took for writing to these accounts, in micro-lamports per compute unit."""

    def send(self, wire: bytes, commitment: Commitment) -> None:
        """Hand over a signed transaction, with preflight, without the node's own retries.

        Nothing is repeated here: whoever sends knows the signature and can look it up. A transaction that the node
        knows already counts as sent.

        :raises TransactionRejectedError: preflight failed; it has not landed and this node will not forward it.
        :raises RemoteUnavailableError: no usable answer: it may or may not have arrived.
        """
