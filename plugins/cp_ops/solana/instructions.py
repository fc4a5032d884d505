"""The instructions that move a wallet's funds. Encodings: spl-token `instruction.rs`, Token-2022 `transfer_fee`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from cp_ops.solana.accounts import ASSOCIATED_TOKEN_PROGRAM, SYSTEM_PROGRAM

if TYPE_CHECKING:
    from cp_ops.solana.accounts import Holding
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.moves import Move

TRANSFER_CHECKED = 12
CLOSE_ACCOUNT = 9
TRANSFER_FEE_EXTENSION = 26
HARVEST_WITHHELD_TOKENS_TO_MINT = 4
CREATE_IDEMPOTENT = 1


def key(address: str) -> Pubkey:
    """Read an address."""
    return Pubkey.from_string(address)


def of_move(move: Move, around: Surroundings, fee_payer: str) -> list[Instruction]:
    """Give a move's instructions: tokens to the receiver, accounts closed, SOL to the receiver."""
    moved = {holding.address for holding in move.tokens}
    # Tokens first: an account can be closed only when it is empty, and one failing instruction undoes all others.
    made = [_transfer_checked(holding, around) for holding in move.tokens]
    for holding in move.closes:
        if holding.withheld and holding.mint in around.mints:
            made.append(_harvest(holding))
        if holding.amount and holding.address not in moved:
            raise AssertionError(f"{holding.address} would be closed with tokens inside")
        made.append(_close(holding, fee_payer))
    if move.lamports:
        params = TransferParams(
            from_pubkey=key(move.row.address), to_pubkey=key(around.receiver), lamports=move.lamports
        )
        made.append(transfer(params))
    return made


def open_receiver_account(mint: str, around: Surroundings, fee_payer: str) -> Instruction:
    """Open the receiver's associated account of a mint, unless it is open: the fee payer pays its rent."""
    account, _ = around.receiver_accounts[mint]
    metas = [
        _meta(fee_payer, signer=True, writable=True),
        _meta(account, writable=True),
        _meta(around.receiver),
        _meta(mint),
        _meta(SYSTEM_PROGRAM),
        _meta(around.mints[mint].program),
    ]
    return _instruction(ASSOCIATED_TOKEN_PROGRAM, bytes([CREATE_IDEMPOTENT]), metas)


def _transfer_checked(holding: Holding, around: Surroundings) -> Instruction:
    destination, _ = around.receiver_accounts[holding.mint]
    data = bytes([TRANSFER_CHECKED]) + holding.amount.to_bytes(8, "little")
    metas = [
        _meta(holding.address, writable=True),
        _meta(holding.mint),
        _meta(destination, writable=True),
        _meta(holding.owner, signer=True),
    ]
    return _instruction(holding.program, data + bytes([around.mints[holding.mint].decimals]), metas)


def _close(holding: Holding, fee_payer: str) -> Instruction:
    metas = [
        _meta(holding.address, writable=True),
        _meta(fee_payer, writable=True),
        _meta(holding.owner, signer=True),
    ]
    return _instruction(holding.program, bytes([CLOSE_ACCOUNT]), metas)


def _harvest(holding: Holding) -> Instruction:
    """Give the fees that a mint withheld in an account back to the mint: with them inside it cannot be closed."""
    metas = [_meta(holding.mint, writable=True), _meta(holding.address, writable=True)]
    data = bytes([TRANSFER_FEE_EXTENSION, HARVEST_WITHHELD_TOKENS_TO_MINT])
    return _instruction(holding.program, data, metas)


def _instruction(program: str, data: bytes, metas: list[AccountMeta]) -> Instruction:
    return Instruction(key(program), data, metas)


def _meta(address: str, *, signer: bool = False, writable: bool = False) -> AccountMeta:
    return AccountMeta(key(address), is_signer=signer, is_writable=writable)
