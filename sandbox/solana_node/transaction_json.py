"""A landed transaction as getTransaction shows it: json, jsonParsed, base64, base58."""

from __future__ import annotations

import base64
from typing import Any

from solders.message import MessageV0

from sandbox.solana_node.base58 import b58encode
from sandbox.solana_node.errors import UNSUPPORTED_TRANSACTION_VERSION, RpcError, invalid_params
from sandbox.solana_node.instruction_json import instruction_json
from sandbox.solana_node.records import InvokedInstruction, Landed, TokenBalance, is_v0
from sandbox.solana_node.token_layout import ui_token_amount


def transaction_json(landed: Landed, encoding: str, max_version: int | None) -> dict[str, Any]:
    """Return getTransaction's result; raise RpcError for a version that the client did not ask for."""
    v0 = is_v0(landed.transaction)
    if v0 and max_version is None:
        raise RpcError(
            UNSUPPORTED_TRANSACTION_VERSION,
            "Transaction version (0) is not supported by the requesting client. "
            "Please try the request again with the following configuration parameter: "
            '"maxSupportedTransactionVersion": 0',
        )
    body: dict[str, Any] = {
        "slot": landed.slot,
        "blockTime": landed.block_time,
        "transaction": _transaction(landed, encoding),
        "meta": _meta(landed, parsed=encoding == "jsonParsed"),
    }
    if max_version is not None:
        body["version"] = 0 if v0 else "legacy"
    return body


def _transaction(landed: Landed, encoding: str) -> Any:
    if encoding == "base64":
        return [base64.b64encode(bytes(landed.transaction)).decode(), "base64"]
    if encoding == "base58":
        return [b58encode(bytes(landed.transaction)), "base58"]
    if encoding not in ("json", "jsonParsed"):
        raise invalid_params(f"Invalid params: unknown variant `{encoding}`.")
    signatures = [str(signature) for signature in landed.transaction.signatures]
    message = _parsed_message(landed) if encoding == "jsonParsed" else _raw_message(landed)
    return {"signatures": signatures, "message": message}


def _raw_message(landed: Landed) -> dict[str, Any]:
    message = landed.transaction.message
    header = message.header
    return {
        "header": {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        },
        "accountKeys": [str(key) for key in message.account_keys],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [compiled_json(ix) for ix in landed.top_level()],
    } | _lookups(landed)


def _parsed_message(landed: Landed) -> dict[str, Any]:
    message = landed.transaction.message
    static = len(message.account_keys)
    return {
        "accountKeys": [
            {
                "pubkey": str(key),
                "signer": index < landed.addresses.signers,
                "source": "transaction" if index < static else "lookupTable",
                "writable": landed.addresses.writable[index],
            }
            for index, key in enumerate(landed.addresses.keys)
        ],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [instruction_json(ix, landed.addresses.keys) for ix in landed.top_level()],
    } | _lookups(landed)


def _lookups(landed: Landed) -> dict[str, Any]:
    message = landed.transaction.message
    if not isinstance(message, MessageV0):
        return {}
    return {
        "addressTableLookups": [
            {
                "accountKey": str(lookup.account_key),
                "writableIndexes": list(lookup.writable_indexes),
                "readonlyIndexes": list(lookup.readonly_indexes),
            }
            for lookup in message.address_table_lookups
        ]
    }


def compiled_json(ix: InvokedInstruction) -> dict[str, Any]:
    """Return an instruction by indexes, as the `json` encoding has it."""
    return {
        "programIdIndex": ix.program_index,
        "accounts": list(ix.accounts),
        "data": b58encode(ix.data),
        "stackHeight": ix.stack_height,
    }


def _meta(landed: Landed, *, parsed: bool) -> dict[str, Any]:
    keys = landed.addresses.keys
    meta: dict[str, Any] = {
        "err": landed.err,
        "status": {"Ok": None} if landed.err is None else {"Err": landed.err},
        "fee": landed.fee,
        "preBalances": list(landed.pre_balances),
        "postBalances": list(landed.post_balances),
        "innerInstructions": [
            {
                "index": index,
                "instructions": [instruction_json(ix, keys) if parsed else compiled_json(ix) for ix in group],
            }
            for index, group in enumerate(landed.inner)
            if group
        ],
        "logMessages": list(landed.logs),
        "preTokenBalances": [_token_balance(balance) for balance in landed.pre_tokens],
        "postTokenBalances": [_token_balance(balance) for balance in landed.post_tokens],
        "rewards": [],
        "computeUnitsConsumed": landed.compute_units,
    }
    if not parsed:
        meta["loadedAddresses"] = {
            "writable": [str(key) for key in landed.addresses.loaded_writable],
            "readonly": [str(key) for key in landed.addresses.loaded_readonly],
        }
    return meta


def _token_balance(balance: TokenBalance) -> dict[str, Any]:
    return {
        "accountIndex": balance.account_index,
        "mint": balance.mint,
        "owner": balance.owner,
        "programId": balance.program,
        "uiTokenAmount": ui_token_amount(balance.amount, balance.decimals),
    }
