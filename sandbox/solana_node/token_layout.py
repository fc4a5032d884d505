"""Byte layouts of token accounts and mints, with the Token-2022 extensions that move or lock money.

Source: spl-token `state.rs` (165 and 82 bytes) and spl-token-2022 `extension/mod.rs`: a byte of
account type at 165, then entries of type u16, length u16, value.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

if TYPE_CHECKING:
    from solders.account import Account

TOKEN_PROGRAMS = (TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID)
ACCOUNT_SIZE = 165
MINT_SIZE = 82
MULTISIG_SIZE = 355
MINT_TYPE, ACCOUNT_TYPE = 1, 2
ACCOUNT_STATES = ("uninitialized", "initialized", "frozen")

TRANSFER_FEE_CONFIG, TRANSFER_FEE_AMOUNT, MINT_CLOSE_AUTHORITY = 1, 2, 3
DEFAULT_ACCOUNT_STATE, IMMUTABLE_OWNER, MEMO_TRANSFER, NON_TRANSFERABLE = 6, 7, 8, 9
PERMANENT_DELEGATE, NON_TRANSFERABLE_ACCOUNT = 12, 13

_HOLDING = struct.Struct("<32s32sQI32sBIQQI32s")
_MINT = struct.Struct("<I32sQBBI32s")
_AMOUNT = struct.Struct("<Q")


@dataclass(frozen=True)
class TokenHolding:
    """A token account: who owns how much of which mint."""

    mint: Pubkey
    owner: Pubkey
    amount: int
    state: str
    delegate: Pubkey | None
    delegated_amount: int
    native_reserve: int | None
    close_authority: Pubkey | None
    withheld: int
    extensions: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenMint:
    """A mint: supply, decimals, authorities."""

    mint_authority: Pubkey | None
    supply: int
    decimals: int
    initialized: bool
    freeze_authority: Pubkey | None
    withheld: int
    extensions: dict[int, bytes] = field(default_factory=dict)


def _optional_key(tag: int, key: bytes) -> Pubkey | None:
    return Pubkey.from_bytes(key) if tag else None


def parse_extensions(data: bytes) -> dict[int, bytes]:
    """Return extension type -> value of a Token-2022 account's or mint's data."""
    entries: dict[int, bytes] = {}
    at = ACCOUNT_SIZE + 1
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("<HH", data, at)
        if kind == 0:
            break
        entries[kind] = data[at + 4 : at + 4 + length]
        at += 4 + length
    return entries


def _account_type(data: bytes) -> int:
    if len(data) == MINT_SIZE:
        return MINT_TYPE
    if len(data) == ACCOUNT_SIZE:
        return ACCOUNT_TYPE
    if len(data) > ACCOUNT_SIZE and len(data) != MULTISIG_SIZE:
        return data[ACCOUNT_SIZE]
    return 0


def parse_holding(account: Account | None) -> TokenHolding | None:
    """Return the token account in `account`, or None when it is something else."""
    if account is None or account.owner not in TOKEN_PROGRAMS:
        return None
    data = account.data
    if _account_type(data) != ACCOUNT_TYPE:
        return None
    mint, owner, amount, has_delegate, delegate, state, native, reserve, delegated, closes, closer = (
        _HOLDING.unpack_from(data)
    )
    if state == 0:
        return None
    extensions = parse_extensions(data) if len(data) > ACCOUNT_SIZE else {}
    withheld = extensions.get(TRANSFER_FEE_AMOUNT)
    return TokenHolding(
        mint=Pubkey.from_bytes(mint),
        owner=Pubkey.from_bytes(owner),
        amount=amount,
        state=ACCOUNT_STATES[state],
        delegate=_optional_key(has_delegate, delegate),
        delegated_amount=delegated,
        native_reserve=reserve if native else None,
        close_authority=_optional_key(closes, closer),
        withheld=_AMOUNT.unpack(withheld)[0] if withheld else 0,
        extensions=extensions,
    )


def parse_mint(account: Account | None) -> TokenMint | None:
    """Return the mint in `account`, or None when it is something else."""
    if account is None or account.owner not in TOKEN_PROGRAMS:
        return None
    data = account.data
    if _account_type(data) != MINT_TYPE:
        return None
    mints, minter, supply, decimals, initialized, freezes, freezer = _MINT.unpack_from(data)
    if not initialized:
        return None
    extensions = parse_extensions(data) if len(data) > MINT_SIZE else {}
    fees = extensions.get(TRANSFER_FEE_CONFIG)
    return TokenMint(
        mint_authority=_optional_key(mints, minter),
        supply=supply,
        decimals=decimals,
        initialized=bool(initialized),
        freeze_authority=_optional_key(freezes, freezer),
        withheld=_AMOUNT.unpack_from(fees, 64)[0] if fees else 0,
        extensions=extensions,
    )


def pack_mint(*, decimals: int) -> bytes:
    """Return the data of a mint without supply and authorities, such as wrapped SOL's."""
    return _MINT.pack(0, bytes(32), 0, decimals, 1, 0, bytes(32))


def ui_token_amount(amount: int, decimals: int) -> dict[str, object]:
    """Return the RPC's `UiTokenAmount` of `amount` minor units."""
    digits = str(amount).rjust(decimals + 1, "0")
    text = f"{digits[:-decimals]}.{digits[-decimals:]}".rstrip("0").rstrip(".") if decimals else digits
    return {
        "amount": str(amount),
        "decimals": decimals,
        "uiAmount": amount / 10**decimals,
        "uiAmountString": text,
    }
