"""Sign packs, and check the final bytes before anybody sees them: funds go to the receiver, rent to the fee payer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from solders.hash import Hash
from solders.transaction import VersionedTransaction

from cp_ops.solana.accounts import ASSOCIATED_TOKEN_PROGRAM, SYSTEM_PROGRAM, TOKEN_PROGRAMS
from cp_ops.solana.instructions import (
    CLOSE_ACCOUNT,
    HARVEST_WITHHELD_TOKENS_TO_MINT,
    TRANSFER_CHECKED,
    TRANSFER_FEE_EXTENSION,
)
from cp_ops.solana.packing import PACKET_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from solders.keypair import Keypair

    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.packing import Pack
    from cp_ops.solana.rpc import Blockhash

COMPUTE_BUDGET_PROGRAM = "ComputeBudget111111111111111111111111111111"
_SYSTEM_TRANSFER = 2


class ForbiddenTransactionError(AssertionError):
    """A signed transaction would do something else than bring funds to the receiver: it must not be sent."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed transaction: its bytes, and its id, known before it is sent."""

    pack: Pack
    wire: bytes
    signature: str
    last_valid_block_height: int


def sign(
    pack: Pack, keys: Mapping[str, Keypair], fee_payer: Keypair, blockhash: Blockhash, around: Surroundings
) -> Signed:
    """Sign a pack and check the result.

    :param keys: the wallets' keypairs by address.
    :raises ForbiddenTransactionError: when the bytes would move anything elsewhere.
    """
    payer = str(fee_payer.pubkey())
    message = pack.message(payer, Hash.from_string(blockhash.hash))
    signers = [keys[address] for address in dict.fromkeys(move.row.address for move in pack.moves)]
    wire = bytes(VersionedTransaction(message, [fee_payer, *signers]))
    # The bytes themselves are read back: what is checked is what is sent, and not what was meant.
    check_wire(wire, around, payer)
    signature = str(VersionedTransaction.from_bytes(wire).signatures[0])
    return Signed(pack, wire, signature, blockhash.last_valid_block_height)


def check_wire(wire: bytes, around: Surroundings, fee_payer: str) -> None:
    """Decode a transaction and check where everything in it goes.

    :raises ForbiddenTransactionError: naming the instruction.
    """
    transaction = VersionedTransaction.from_bytes(wire)
    message = transaction.message
    keys = [str(key) for key in message.account_keys]
    if len(wire) > PACKET_BYTES:
        raise ForbiddenTransactionError(f"{len(wire)} bytes do not fit into a packet")
    if keys[0] != fee_payer or not all(transaction.verify_with_results()):
        raise ForbiddenTransactionError("not signed by everybody, or not paid by the fee payer")
    for index, compiled in enumerate(message.instructions):
        program = keys[compiled.program_id_index]
        accounts = [keys[at] for at in compiled.accounts]
        if not _allowed(program, bytes(compiled.data), accounts, around, fee_payer):
            raise ForbiddenTransactionError(f"instruction {index} of program {program} goes elsewhere")


def _allowed(  # noqa: PLR0911 - one return per kind of instruction
    program: str, data: bytes, accounts: list[str], around: Surroundings, fee_payer: str
) -> bool:
    if program == COMPUTE_BUDGET_PROGRAM:
        return True
    if program == SYSTEM_PROGRAM:
        # The fee payer signs every transaction, so a transfer from it would be carried out like any other.
        transfers = int.from_bytes(data[:4], "little") == _SYSTEM_TRANSFER
        return transfers and accounts[1] == around.receiver and accounts[0] != fee_payer
    if program == ASSOCIATED_TOKEN_PROGRAM:
        return accounts[0] == fee_payer and accounts[2] == around.receiver
    if program not in TOKEN_PROGRAMS:
        return False
    if data[0] == TRANSFER_CHECKED:
        return accounts[2] == around.receiver_accounts[accounts[1]][0]
    if data[0] == CLOSE_ACCOUNT:
        return accounts[1] == fee_payer
    return data == bytes([TRANSFER_FEE_EXTENSION, HARVEST_WITHHELD_TOKENS_TO_MINT])
