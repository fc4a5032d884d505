"""Pack wallets into transactions: as many as 1,232 bytes hold, measured on the bytes themselves.

Every wallet costs a signature (64 bytes) and its key (32) in each transaction that it signs, so that nine or ten fit at
most; lookup tables do not help, as signers must be in the message.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.message import Message

from cp_ops.solana import instructions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from solders.instruction import Instruction

    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.moves import Move

PACKET_BYTES = 1_232
SIGNATURE_BYTES = 64
LAMPORTS_PER_SIGNATURE = 5_000
OPEN_PACKS = 4
"""How many unfinished packs a wallet is tried on."""
UNITS = {"transfer": 1_000, "token": 15_000, "open": 60_000}
"""Compute units that an instruction may take, generously: of the system program, a token program, and to open an account."""


@dataclass(frozen=True)
class Toll:
    """What is paid beside signatures, in micro-lamports per compute unit. With 0 the instructions for it are left out."""

    unit_price: int = 0

    def fee(self, units: int) -> int:
        """Give the priority fee in lamports, rounded up as the chain does."""
        return -(-self.unit_price * units // 1_000_000)


@dataclass
class Pack:
    """Moves that go into one transaction."""

    moves: list[Move] = field(default_factory=list)
    body: list[Instruction] = field(default_factory=list)
    units: int = 0
    toll: Toll = Toll()
    owners: list[int] = field(default_factory=list)
    """Of each instruction in `body`, which of `moves` it belongs to."""

    @property
    def head(self) -> list[Instruction]:
        """The compute-budget instructions, when a priority fee is paid."""
        if not self.toll.unit_price:
            return []
        return [set_compute_unit_limit(self.units), set_compute_unit_price(self.toll.unit_price)]

    @property
    def signatures(self) -> int:
        """How many sign: the fee payer and each wallet."""
        return 1 + len({move.row.address for move in self.moves})

    @property
    def fee(self) -> int:
        """Lamports that the fee payer pays when it lands."""
        return self.signatures * LAMPORTS_PER_SIGNATURE + self.toll.fee(self.units)

    def message(self, fee_payer: str, blockhash: Hash) -> Message:
        """Compile the message to sign."""
        return Message.new_with_blockhash([*self.head, *self.body], instructions.key(fee_payer), blockhash)

    def size(self, fee_payer: str) -> int:
        """Give the signed transaction's length in bytes."""
        return 1 + SIGNATURE_BYTES * self.signatures + len(bytes(self.message(fee_payer, Hash.default())))

    def with_move(self, move: Move, body: Sequence[Instruction]) -> Pack:
        """Give this pack with one more move."""
        units = UNITS["token"] * (len(body) - bool(move.lamports)) + UNITS["transfer"] * bool(move.lamports)
        return Pack(
            [*self.moves, move],
            [*self.body, *body],
            self.units + units,
            self.toll,
            [*self.owners, *[len(self.moves)] * len(body)],
        )

    def culprit(self, instruction: int) -> Move | None:
        """Give the move that an instruction of the sent transaction belongs to."""
        at = instruction - len(self.head)
        return self.moves[self.owners[at]] if 0 <= at < len(self.owners) else None


def pack_moves(
    moves: Iterable[Move], around: Surroundings, *, fee_payer: str, toll: Toll, alone: Iterable[int] = ()
) -> list[Pack]:
    """Pack moves densely: like with like, as they share accounts.

    :param alone: ids of wallets that each get a transaction of their own.
    """
    apart = set(alone)
    done: list[Pack] = []
    unfinished: list[Pack] = []
    # Wallets with the same mints share the mints' and the receiver's addresses in a message, so more of them fit.
    for whole in sorted(moves, key=_shape):
        move = _fitting(whole, around, fee_payer, toll)
        body = instructions.of_move(move, around, fee_payer)
        # Whoever has spoiled a transaction before takes no other wallet down with it again.
        if move.row.wallet_id in apart:
            done.append(Pack(toll=toll).with_move(move, body))
            continue
        for index, pack in enumerate(unfinished):
            larger = pack.with_move(move, body)
            if larger.size(fee_payer) <= PACKET_BYTES:
                unfinished[index] = larger
                break
        else:
            unfinished.append(Pack(toll=toll).with_move(move, body))
            if len(unfinished) > OPEN_PACKS:
                done.append(unfinished.pop(0))
    return [*done, *unfinished]


def _fitting(move: Move, around: Surroundings, fee_payer: str, toll: Toll) -> Move:
    """Cut a move that is too large for a transaction of its own; what is cut off stays for the next pass."""
    while (
        Pack(toll=toll).with_move(move, instructions.of_move(move, around, fee_payer)).size(fee_payer)
        > PACKET_BYTES
    ):
        # Half of the accounts at a time, and SOL with the last of them: the next pass sees what is left and moves it.
        kept = move.closes[: -(-len(move.closes) // 2)]
        addresses = {holding.address for holding in kept}
        tokens = tuple(holding for holding in move.tokens if holding.address in addresses)
        move = replace(move, lamports=0, closes=kept, tokens=tokens)
    return move


def _shape(move: Move) -> tuple[bool, tuple[str, ...], int, bool, int]:
    mints = tuple(sorted(holding.mint for holding in move.tokens))
    return (bool(move.tokens), mints, len(move.closes), bool(move.lamports), move.row.wallet_id)
