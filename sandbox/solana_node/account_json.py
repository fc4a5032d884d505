"""Accounts as the RPC shows them: base58, base64 and jsonParsed (agave `account-decoder`)."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_2022_PROGRAM_ID

from sandbox.solana_node import token_layout as layout
from sandbox.solana_node.accounts import RENT_EPOCH
from sandbox.solana_node.base58 import b58encode
from sandbox.solana_node.errors import INVALID_REQUEST, RpcError, invalid_params
from sandbox.solana_node.token_layout import (
    TokenHolding,
    TokenMint,
    parse_holding,
    parse_mint,
    ui_token_amount,
)

_BASE58_LIMIT = 128
ReadAccount = Callable[[Pubkey], Account | None]


def account_json(
    account: Account, encoding: str | None, data_slice: dict[str, int] | None, read: ReadAccount
) -> dict[str, Any]:
    """Return the RPC's account object; `read` looks up the mint that a token account's amount needs."""
    return {
        "lamports": account.lamports,
        "data": _data(account, encoding, data_slice, read),
        "owner": str(account.owner),
        "executable": account.executable,
        "rentEpoch": RENT_EPOCH,
        "space": len(account.data),
    }


def _data(
    account: Account, encoding: str | None, data_slice: dict[str, int] | None, read: ReadAccount
) -> Any:
    if encoding == "jsonParsed":
        parsed = parsed_account(account, read)
        if parsed is not None:
            return parsed
    data = account.data
    if data_slice is not None:
        data = data[data_slice["offset"] : data_slice["offset"] + data_slice["length"]]
    if encoding in ("base64", "jsonParsed"):
        return [base64.b64encode(data).decode(), "base64"]
    if encoding in (None, "binary", "base58"):
        if len(data) > _BASE58_LIMIT:
            raise RpcError(
                INVALID_REQUEST,
                f"Encoded binary (base 58) data should be less than {_BASE58_LIMIT} bytes, "
                "please use Base64 encoding.",
            )
        return [b58encode(data), "base58"] if encoding == "base58" else b58encode(data)
    raise invalid_params(
        f"Invalid params: unknown variant `{encoding}`, expected one of `binary`, `base58`, ..."
    )


def parsed_account(account: Account, read: ReadAccount) -> dict[str, Any] | None:
    """Return the jsonParsed `data` of a token account or mint, None for everything else."""
    holding = parse_holding(account)
    if holding is not None:
        mint = parse_mint(read(holding.mint))
        kind, info = "account", _holding_info(holding, mint.decimals if mint else 0)
    else:
        minting = parse_mint(account)
        if minting is None:
            return None
        kind, info = "mint", _mint_info(minting)
    program = "spl-token-2022" if account.owner == TOKEN_2022_PROGRAM_ID else "spl-token"
    return {"program": program, "parsed": {"info": info, "type": kind}, "space": len(account.data)}


def _holding_info(holding: TokenHolding, decimals: int) -> dict[str, Any]:
    info: dict[str, Any] = {
        "isNative": holding.native_reserve is not None,
        "mint": str(holding.mint),
        "owner": str(holding.owner),
        "state": holding.state,
        "tokenAmount": ui_token_amount(holding.amount, decimals),
    }
    if holding.delegate is not None:
        info["delegate"] = str(holding.delegate)
        info["delegatedAmount"] = ui_token_amount(holding.delegated_amount, decimals)
    if holding.native_reserve is not None:
        info["rentExemptReserve"] = ui_token_amount(holding.native_reserve, decimals)
    if holding.close_authority is not None:
        info["closeAuthority"] = str(holding.close_authority)
    return _with_extensions(info, holding.extensions)


def _mint_info(mint: TokenMint) -> dict[str, Any]:
    info: dict[str, Any] = {
        "mintAuthority": _text(mint.mint_authority),
        "supply": str(mint.supply),
        "decimals": mint.decimals,
        "isInitialized": mint.initialized,
        "freezeAuthority": _text(mint.freeze_authority),
    }
    return _with_extensions(info, mint.extensions)


def _text(key: Pubkey | None) -> str | None:
    return None if key is None else str(key)


def _with_extensions(info: dict[str, Any], extensions: dict[int, bytes]) -> dict[str, Any]:
    if extensions:
        info["extensions"] = [_extension(kind, value) for kind, value in extensions.items()]
    return info


def _extension(kind: int, value: bytes) -> dict[str, Any]:
    name, state = _EXTENSIONS.get(kind, ("unparseableExtension", None))
    return {"extension": name} if state is None else {"extension": name, "state": state(value)}


def _key(value: bytes) -> str | None:
    return str(Pubkey.from_bytes(value)) if any(value) else None


def _transfer_fee(value: bytes) -> dict[str, int]:
    epoch, maximum, basis_points = struct.unpack("<QQH", value)
    return {"epoch": epoch, "maximumFee": maximum, "transferFeeBasisPoints": basis_points}


def _transfer_fee_config(value: bytes) -> dict[str, Any]:
    return {
        "transferFeeConfigAuthority": _key(value[:32]),
        "withdrawWithheldAuthority": _key(value[32:64]),
        "withheldAmount": int.from_bytes(value[64:72], "little"),
        "olderTransferFee": _transfer_fee(value[72:90]),
        "newerTransferFee": _transfer_fee(value[90:108]),
    }


_EXTENSIONS: dict[int, tuple[str, Callable[[bytes], dict[str, Any]] | None]] = {
    layout.TRANSFER_FEE_CONFIG: ("transferFeeConfig", _transfer_fee_config),
    layout.TRANSFER_FEE_AMOUNT: (
        "transferFeeAmount",
        lambda v: {"withheldAmount": int.from_bytes(v, "little")},
    ),
    layout.MINT_CLOSE_AUTHORITY: ("mintCloseAuthority", lambda v: {"closeAuthority": _key(v)}),
    layout.DEFAULT_ACCOUNT_STATE: (
        "defaultAccountState",
        lambda v: {"accountState": layout.ACCOUNT_STATES[v[0]]},
    ),
    layout.IMMUTABLE_OWNER: ("immutableOwner", None),
    layout.MEMO_TRANSFER: ("memoTransfer", lambda v: {"requireIncomingTransferMemos": bool(v[0])}),
    layout.NON_TRANSFERABLE: ("nonTransferable", None),
    layout.PERMANENT_DELEGATE: ("permanentDelegate", lambda v: {"delegate": _key(v)}),
    layout.NON_TRANSFERABLE_ACCOUNT: ("nonTransferableAccount", None),
}
