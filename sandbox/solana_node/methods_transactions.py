"""RPC methods that take a transaction or make one."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from solders.message import MessageV1, from_bytes_versioned
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from sandbox.solana_node.account_json import account_json
from sandbox.solana_node.base58 import b58decode
from sandbox.solana_node.chain import LANDS, Fate
from sandbox.solana_node.errors import (
    PREFLIGHT_FAILURE,
    SIGNATURE_VERIFICATION_FAILURE,
    RpcError,
    describe_transaction_error,
    invalid_params,
)
from sandbox.solana_node.instruction_json import instruction_json
from sandbox.solana_node.methods_cluster import check_health
from sandbox.solana_node.params import Config, Params, commitment, pubkey, with_context
from sandbox.solana_node.transaction_json import compiled_json

if TYPE_CHECKING:
    from solders.pubkey import Pubkey

    from sandbox.solana_node.bank import Simulation
    from sandbox.solana_node.state import NodeState

PACKET_BYTES = 1232
_TYPE = "solana_transaction::versioned::VersionedTransaction"


def decode_wire(text: str, encoding: str) -> bytes:
    """Return the bytes of an encoded transaction or message; raise RpcError as a node does."""
    try:
        if encoding == "base64":
            wire = base64.b64decode(text, validate=True)
        elif encoding == "base58":
            wire = b58decode(text)
        else:
            raise invalid_params(f"unsupported encoding: {encoding}. Supported encodings: base58, base64")
    except (ValueError, binascii.Error) as error:
        raise invalid_params(f"invalid {encoding} encoding: {error}") from error
    if len(wire) > PACKET_BYTES:
        raise invalid_params(
            f"{encoding} encoded {_TYPE} too large: {len(wire)} bytes (max: encoded/raw 1644/{PACKET_BYTES})"
        )
    return wire


def decode_transaction(params: Params, config: Config) -> VersionedTransaction:
    """Return the transaction in the first parameter."""
    wire = decode_wire(params.required(0, str, "a string"), config.get("encoding") or "base58")
    try:
        transaction = VersionedTransaction.from_bytes(wire)
        transaction.sanitize()
    except ValueError as error:
        raise invalid_params(f"failed to deserialize {_TYPE}: {error}") from error
    if bytes(transaction) != wire or isinstance(transaction.message, MessageV1):
        raise invalid_params(f"failed to deserialize {_TYPE}: trailing bytes or an unknown version")
    return transaction


def send_transaction(node: NodeState, params: Params, fate: Fate = LANDS) -> Any:
    """sendTransaction(wire, {encoding, skipPreflight, preflightCommitment, maxRetries, minContextSlot})."""
    config = params.config(1)
    transaction = decode_transaction(params, config)
    if not config.get("skipPreflight"):
        level = commitment(config, "preflightCommitment")
        if not all(transaction.verify_with_results()):
            raise RpcError(SIGNATURE_VERIFICATION_FAILURE, "Transaction signature verification failure")
        check_health(node)
        outcome = node.chain.simulate(transaction, level)
        if outcome.err is not None:
            raise RpcError(
                PREFLIGHT_FAILURE,
                f"Transaction simulation failed: {describe_transaction_error(outcome.err)}",
                _simulation_json(outcome, transaction, None),
            )
    node.chain.accept(transaction, fate)
    return str(transaction.signatures[0])


def simulate_transaction(node: NodeState, params: Params) -> Any:
    """simulateTransaction(wire, {sigVerify, replaceRecentBlockhash, accounts, innerInstructions, ...})."""
    config = params.config(1)
    transaction = decode_transaction(params, config)
    level = commitment(config)
    verify, replace = bool(config.get("sigVerify")), bool(config.get("replaceRecentBlockhash"))
    if verify and replace:
        raise invalid_params("sigVerify may not be used with replaceRecentBlockhash")
    if verify and not all(transaction.verify_with_results()):
        raise RpcError(SIGNATURE_VERIFICATION_FAILURE, "Transaction signature verification failure")
    outcome = node.chain.simulate(transaction, level, check_blockhash=not replace)
    value = _simulation_json(outcome, transaction, config.get("innerInstructions"))
    if replace:
        blockhash, last_valid = node.clock.latest_blockhash(level)
        value["replacementBlockhash"] = {"blockhash": blockhash, "lastValidBlockHeight": last_valid}
    wanted = config.get("accounts")
    if wanted:
        after = outcome.accounts or {}

        def read(address: Pubkey) -> Any:
            return after.get(address) or node.chain.accounts.get(address, level)

        found = [read(pubkey(text)) if outcome.err is None else None for text in wanted["addresses"]]
        encoding = wanted.get("encoding") or "base64"
        value["accounts"] = [account_json(one, encoding, None, read) if one else None for one in found]
    return with_context(node, level, value)


def _simulation_json(outcome: Simulation, transaction: VersionedTransaction, inner: Any) -> dict[str, Any]:
    data = None
    if outcome.return_data is not None:
        program, returned = outcome.return_data
        data = {"programId": str(program), "data": [base64.b64encode(returned).decode(), "base64"]}
    keys = tuple(transaction.message.account_keys)
    return {
        "err": outcome.err,
        "logs": outcome.logs,
        "accounts": None,
        "unitsConsumed": outcome.units,
        "returnData": data,
        "innerInstructions": [
            {
                "index": index,
                "instructions": [
                    instruction_json(ix, keys)
                    if max((*ix.accounts, ix.program_index)) < len(keys)
                    else compiled_json(ix)
                    for ix in group
                ],
            }
            for index, group in enumerate(outcome.inner)
            if group
        ]
        if inner
        else None,
        "replacementBlockhash": None,
        "loadedAccountsDataSize": None,
        "fee": outcome.fee or None,
    }


def get_fee_for_message(node: NodeState, params: Params) -> Any:
    """getFeeForMessage(base64 message, config): null when its blockhash is not known any more."""
    wire = decode_wire(params.required(0, str, "a string"), "base64")
    level = commitment(params.config(1))
    try:
        message = from_bytes_versioned(wire)
    except ValueError as error:
        raise invalid_params(f"failed to deserialize solana_message::VersionedMessage: {error}") from error
    fee = None
    if node.clock.blockhash_known(str(message.recent_blockhash), level):
        blank = [Signature.default()] * message.header.num_required_signatures
        unsigned = VersionedTransaction.populate(message, blank)
        fee = node.chain.simulate(unsigned, level, check_blockhash=False).fee
    return with_context(node, level, fee)


def request_airdrop(node: NodeState, params: Params) -> Any:
    """requestAirdrop(address, lamports): a transfer from the faucet, landed when it answers."""
    address, lamports = params.pubkey(0), params.required(1, int, "u64")
    return node.build.airdrop(address, lamports).signature


def sent_addresses(params: Any) -> list[str]:
    """Return signature and keys of the transaction in sendTransaction's parameters, if they can be read."""
    try:
        encoding = params[1].get("encoding", "base58") if len(params) > 1 and params[1] else "base58"
        transaction = VersionedTransaction.from_bytes(decode_wire(params[0], encoding))
    except (RpcError, ValueError, LookupError, TypeError, AttributeError):
        return []
    return [str(transaction.signatures[0]), *map(str, transaction.message.account_keys)]


METHODS = {
    "sendTransaction": send_transaction,
    "simulateTransaction": simulate_transaction,
    "getFeeForMessage": get_fee_for_message,
    "requestAirdrop": request_airdrop,
}
