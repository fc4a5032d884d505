"""Token accounts and mints: their bytes, and where an owner's associated account lies.

The layouts are those of spl-token's `state.rs`, 165 and 82 bytes. Token-2022 adds a byte of account type at 165, and then
extensions of type u16, length u16, value (`extension/mod.rs`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from solders.pubkey import Pubkey

if TYPE_CHECKING:
    from cp_ops.solana.rpc import Account

SYSTEM_PROGRAM = "11111111111111111111111111111111"
TOKEN_PROGRAM = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"  # noqa: S105 - an address
TOKEN_2022_PROGRAM = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"  # noqa: S105 - an address
TOKEN_PROGRAMS = (TOKEN_PROGRAM, TOKEN_2022_PROGRAM)
ASSOCIATED_TOKEN_PROGRAM = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"  # noqa: S105 - an address
TOKEN_ACCOUNT_SIZE = 165
_MINT_SIZE = 82
_MULTISIG_SIZE = 355
_FROZEN = 2
_TRANSFER_FEE_AMOUNT = 2
_HOLDING = struct.Struct("<32s32sQI32sBIQQI32s")
_U64 = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Holding:
    """A token account: `amount` and `withheld` in minor units, `lamports` its rent."""

    address: str
    owner: str
    mint: str
    program: str
    amount: int
    lamports: int
    frozen: bool = False
    withheld: int = 0
    close_authority: str | None = None


@dataclass(frozen=True, slots=True)
class Mint:
    """A listed mint as the chain has it."""

    address: str
    program: str
    decimals: int


def parse_holding(address: str, account: Account | None) -> Holding | None:
    """Read a token account; None when there is none, or something else."""
    if account is None or account.owner not in TOKEN_PROGRAMS or not _is_token_account(account.data):
        return None
    fields = _HOLDING.unpack_from(account.data)
    mint, owner, amount, _, _, state, _, _, _, has_close, close = fields
    # Allocated and not initialised: it has neither mint nor owner yet.
    if state == 0:
        return None
    return Holding(
        address=address,
        owner=_text(owner),
        mint=_text(mint),
        program=account.owner,
        amount=amount,
        lamports=account.lamports,
        frozen=state == _FROZEN,
        withheld=_withheld(account.data),
        close_authority=_text(close) if has_close else None,
    )


def parse_mint(address: str, account: Account | None) -> Mint | None:
    """Read a mint; None when there is none, or something else."""
    if account is None or account.owner not in TOKEN_PROGRAMS or len(account.data) < _MINT_SIZE:
        return None
    # Token-2022 pads mints to a token account's size, so only the account type tells the two apart.
    if len(account.data) > _MINT_SIZE and _is_token_account(account.data):
        return None
    return Mint(address, account.owner, account.data[44])


@lru_cache(maxsize=100_000)
def associated_address(owner: str, mint: str, program: str) -> str:
    """Derive the address of an owner's associated token account."""
    key = Pubkey.from_string
    seeds = [bytes(key(owner)), bytes(key(program)), bytes(key(mint))]
    return str(Pubkey.find_program_address(seeds, key(ASSOCIATED_TOKEN_PROGRAM))[0])


def _is_token_account(data: bytes) -> bool:
    if len(data) == TOKEN_ACCOUNT_SIZE:
        return True
    long = len(data) > TOKEN_ACCOUNT_SIZE and len(data) != _MULTISIG_SIZE
    return long and data[TOKEN_ACCOUNT_SIZE] == 2  # noqa: PLR2004 - AccountType::Account


def _withheld(data: bytes) -> int:
    at = TOKEN_ACCOUNT_SIZE + 1
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("<HH", data, at)
        if kind == 0:
            break
        if kind == _TRANSFER_FEE_AMOUNT:
            return int(_U64.unpack_from(data, at + 4)[0])
        at += 4 + length
    return 0


def _text(key: bytes) -> str:
    return str(Pubkey.from_bytes(key))
