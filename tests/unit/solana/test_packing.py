"""Packing: how many wallets a transaction holds, measured, and that the final bytes pay nobody else."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from cp_ops.solana.accounts import TOKEN_PROGRAM, Holding, Mint, associated_address
from cp_ops.solana.chain import Surroundings
from cp_ops.solana.moves import Move
from cp_ops.solana.packing import PACKET_BYTES, Toll, pack_moves
from cp_ops.solana.rpc import Blockhash
from cp_ops.solana.signing import ForbiddenTransactionError, check_wire, sign
from cp_ops.solana.wallets import WalletRow

PAYER, RECEIVER = Keypair(), str(Pubkey.new_unique())
MINTS = [str(Pubkey.new_unique()) for _ in range(4)]
AROUND = Surroundings(
    {mint: Mint(mint, TOKEN_PROGRAM, 6) for mint in MINTS},
    (),
    RECEIVER,
    10**9,
    {mint: (associated_address(RECEIVER, mint, TOKEN_PROGRAM), True) for mint in MINTS},
)
BLOCKHASH = Blockhash(str(Pubkey.new_unique()), 100)
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def wallets(count, *, sol=False, tokens=0, closes=0):
    """Moves of `count` wallets, and their keys."""
    keys = {}
    moves = []
    for number in range(count):
        key = Keypair()
        address = str(key.pubkey())
        keys[address] = key
        accounts = tuple(
            Holding(
                associated_address(address, mint, TOKEN_PROGRAM),
                address,
                mint,
                TOKEN_PROGRAM,
                1_000_000 if index < tokens else 0,
                2_039_280,
            )
            for index, mint in enumerate(MINTS[:closes])
        )
        row = WalletRow(number, "processing_funds", number, address, "confirmed", LATER)
        moves.append(Move(row, 10**8 if sol else 0, accounts[:tokens], accounts, "sent_funds"))
    return moves, keys


@pytest.mark.parametrize(
    ("shape", "most", "with_fee"),
    [
        ({"sol": True}, 9, 8),
        ({"closes": 1}, 7, 7),
        ({"closes": 2}, 6, 5),
        ({"closes": 3}, 5, 4),
        ({"sol": True, "closes": 2}, 5, 4),
        ({"sol": True, "closes": 3}, 4, 4),
        ({"tokens": 1, "closes": 1}, 6, 6),
        ({"tokens": 1, "closes": 2}, 5, 4),
        ({"tokens": 1, "closes": 3}, 4, 4),
        ({"sol": True, "tokens": 1, "closes": 2}, 4, 4),
    ],
)
def test_a_transaction_holds_as_many_wallets_as_its_bytes_allow(shape, most, with_fee):
    """The arithmetic lower bound, wallet by wallet of one kind; with a priority fee it is one less."""
    moves, keys = wallets(40, **shape)
    for toll, expected in ((Toll(), most), (Toll(1_000), with_fee)):
        packs = pack_moves(moves, AROUND, fee_payer=str(PAYER.pubkey()), toll=toll)
        assert max(len(pack.moves) for pack in packs) == expected
        full = max(packs, key=lambda pack: len(pack.moves))
        signed = sign(full, keys, PAYER, BLOCKHASH, AROUND)
        assert len(signed.wire) == full.size(str(PAYER.pubkey())) <= PACKET_BYTES


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 4)).filter(any),
        max_size=25,
    ),
    st.sampled_from([0, 500]),
)
def test_every_wallet_is_in_one_pack_and_every_pack_fits(kinds, unit_price):
    moves, keys = [], {}
    for number, (sol, tokens, closes) in enumerate(kinds):
        made, key = wallets(1, sol=sol or not closes, tokens=min(tokens, closes), closes=closes)
        moves.append(Move(**{f: getattr(made[0], f) for f in ("lamports", "tokens", "closes", "target")},
                          row=WalletRow(number, "s", number, made[0].row.address, "confirmed", LATER)))  # fmt: skip
        keys |= key
    packs = pack_moves(moves, AROUND, fee_payer=str(PAYER.pubkey()), toll=Toll(unit_price))
    assert Counter(move.row.wallet_id for pack in packs for move in pack.moves) == Counter(range(len(kinds)))
    for pack in packs:
        assert len(sign(pack, keys, PAYER, BLOCKHASH, AROUND).wire) <= PACKET_BYTES


def test_an_instruction_names_its_wallet():
    moves, _ = wallets(3, sol=True, closes=2)
    (pack,) = pack_moves(moves, AROUND, fee_payer=str(PAYER.pubkey()), toll=Toll(1_000))
    named = [pack.culprit(index) for index in range(2 + 9)]
    assert named == [None, None, *[move for move in pack.moves for _ in range(3)]]
    assert pack.culprit(11) is None


@pytest.mark.parametrize("what", ["receiver", "token account", "rent"])
def test_bytes_that_pay_somebody_else_are_refused(what):
    moves, keys = wallets(2, sol=True, tokens=1, closes=1)
    (pack,) = pack_moves(moves, AROUND, fee_payer=str(PAYER.pubkey()), toll=Toll())
    wire = sign(pack, keys, PAYER, BLOCKHASH, AROUND).wire
    check_wire(wire, AROUND, str(PAYER.pubkey()))
    other = str(Pubkey.new_unique())
    changed = {
        "receiver": Surroundings(**vars(AROUND) | {"receiver": other}),
        "token account": Surroundings(
            **vars(AROUND) | {"receiver_accounts": dict.fromkeys(MINTS, (other, True))}
        ),
        "rent": AROUND,
    }[what]
    payer = other if what == "rent" else str(PAYER.pubkey())
    with pytest.raises(ForbiddenTransactionError):
        check_wire(wire, changed, payer)
