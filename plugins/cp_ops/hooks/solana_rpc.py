"""An RPC node of Solana: JSON-RPC over one HTTP client, paced, batched, with typed answers.

The Rust parser behind solana-py's client ends the process on a rate-limit answer without data and reads unknown error
codes as integers; here the answers are plain JSON, and solders is not involved.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from airflow.sdk.log import mask_secret

from cp_ops.hooks.connections import connection, extra_of
from cp_ops.hooks.json_rpc import BLOCK_UNKNOWN, REFUSALS, Busy, JsonRpc, RpcError, parts
from cp_ops.runtime.errors import (
    ConnectionInvalidError,
    RemoteConnectionLostError,
    RemoteRefusedError,
)
from cp_ops.solana.configuration import SolanaConfiguration
from cp_ops.solana.rpc import Account, Blockhash, SignatureInfo, SignatureStatus, TransactionRejectedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cp_ops.hooks.json_rpc import Call
    from cp_ops.solana.configuration import Commitment

ACCOUNTS_PER_CALL = 100
"""Keys that getMultipleAccounts takes."""
STATUSES_PER_CALL = 256
"""Signatures that getSignatureStatuses takes."""
BLOCKS_BACK = 4
"""A slot can be skipped: how many slots to go back for one with a block time."""
PREFLIGHT_FAILURE = -32002


class SolanaRpc(JsonRpc):
    """A node, as `cp_ops.solana.rpc.Rpc` describes it."""

    # -- reads ---------------------------------------------------------------------------------------------------

    def accounts(self, addresses: Sequence[str], commitment: Commitment) -> list[Account | None]:
        """Read accounts, 100 a call."""
        config = {"encoding": "base64", "commitment": commitment}
        calls: list[Call] = [
            ("getMultipleAccounts", [list(part), config]) for part in parts(addresses, ACCOUNTS_PER_CALL)
        ]
        answers = self._many(calls)
        return [_account(found) for answer in answers for found in answer["value"]]

    def token_accounts(
        self, owners: Sequence[str], programs: Sequence[str], commitment: Commitment
    ) -> list[list[tuple[str, Account]]]:
        """List each owner's token accounts of these token programs: a call for each owner and program."""
        config = {"encoding": "base64", "commitment": commitment}
        calls: list[Call] = [
            ("getTokenAccountsByOwner", [owner, {"programId": program}, config])
            for owner in owners
            for program in programs
        ]
        return [
            [
                (entry["pubkey"], account)
                for answer in answers
                for entry in answer["value"]
                if (account := _account(entry["account"])) is not None
            ]
            for answers in parts(self._many(calls), len(programs))
        ]

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
            ("getSignatureStatuses", [list(part), config]) for part in parts(signatures, STATUSES_PER_CALL)
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
        # Without an answer it may be under way: only its caller knows how to find out.
        self._repeated(lambda: self._hand_over(call), after_no_answer=False)

    def _hand_over(self, call: Call) -> None:
        try:
            answer = self._post([call])[0]
        except RpcError as error:
            if error.rate_limited:
                raise Busy(None) from None
            if not _has_landed(error):
                raise self._meaning(error) from None
        else:
            if not isinstance(answer, str):
                raise RemoteConnectionLostError(
                    f"{self._host}: sendTransaction answered without a signature: it may or may not have arrived"
                )

    def _meaning(self, error: RpcError) -> Exception:
        """Say what the node's answer to a transaction means: certainly refused, or perhaps under way."""
        err = _transaction_error(error)
        if error.code == PREFLIGHT_FAILURE:
            return TransactionRejectedError(err, error.message)
        if error.code in REFUSALS:
            return TransactionRejectedError(err or {"RpcError": error.code}, error.message)
        return RemoteConnectionLostError(
            f"{self._host}: sendTransaction answered with error {error.code}: it may or may not have arrived"
        )


def configuration_of(conn_id: str) -> SolanaConfiguration:
    """Read and check Airflow connection `conn_id`.

    :raises ConnectionMissingError: when it is not defined, or cannot be read.
    :raises ConnectionInvalidError: naming the first wrong field.
    """
    found = connection(
        conn_id, "its host is the RPC node's URL, its password the fee payer's key (docs/solana.md)"
    )
    extra = extra_of(found, invalid=f"Airflow connection {conn_id!r}, extra: must be a JSON object")
    keys = extra.get("wallet_encryption_keys") or ()
    for secret in [found.password, *(keys if isinstance(keys, list | tuple) else str(keys).split(","))]:
        if secret:
            mask_secret(str(secret))
    reserved = {"rpc_url", "fee_payer"} & set(extra)
    if reserved:
        raise ConnectionInvalidError(
            f"Airflow connection {conn_id!r}: {', '.join(sorted(reserved))} belong in host and password, not in extra"
        )
    return SolanaConfiguration.of(
        conn_id, {"rpc_url": _url(found), "fee_payer": found.password or "", **extra}
    )


def _transaction_error(error: RpcError) -> Any:
    return error.data.get("err") if isinstance(error.data, dict) else None


def _has_landed(error: RpcError) -> bool:
    """Tell whether the node knows the transaction already: an earlier hand-over of it has arrived."""
    return _transaction_error(error) == "AlreadyProcessed" or "already been processed" in error.message


def _url(connection: Any) -> str:
    host = connection.host or ""
    if "://" in host:
        return str(host)
    scheme = connection.schema or ("http" if connection.port else "https")
    return f"{scheme}://{host}" + (f":{connection.port}/" if connection.port else "/") if host else ""


def _account(found: Any) -> Account | None:
    if found is None:
        return None
    return Account(int(found["lamports"]), found["owner"], base64.b64decode(found["data"][0]))
