"""Take hold of wallets: lock them, sign for them, and commit what is signed before its first byte leaves.

A transaction that is sent and not written down could not be found again after a crash, and the next run would sign for
the same wallets anew. So its bytes, its signature and what each wallet gives are committed first. From then on
`cp_ops.solana_transfer.open` keeps every process, this one too, from signing for these wallets until the chain has decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg.types.json import Jsonb

from cp_ops.solana import instructions
from cp_ops.solana.keys import KeyUnusableError
from cp_ops.solana.packing import Pack
from cp_ops.solana.sending import Sent
from cp_ops.solana.signing import sign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from solders.keypair import Keypair

    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import SolanaConfiguration
    from cp_ops.solana.moves import Move
    from cp_ops.solana.rpc import Rpc
    from cp_ops.solana.signing import Signed
    from cp_ops.solana.wallets import WalletRow


@dataclass
class Claimed:
    """What came of claiming packs.

    :param sent: the transactions to send, by id, with what is in them.
    :param unusable: wallets whose key is of no use, and why.
    :param elsewhere: wallets that another process holds, or has changed since they were planned.
    """

    sent: dict[int, tuple[Sent, Pack]] = field(default_factory=dict)
    unusable: list[tuple[WalletRow, KeyUnusableError]] = field(default_factory=list)
    elsewhere: list[WalletRow] = field(default_factory=list)


class Claims:
    """Signs packs and writes them down."""

    def __init__(
        self, run: JobRun, rpc: Rpc, configuration: SolanaConfiguration, around: Surroundings
    ) -> None:
        self._run = run
        self._rpc = rpc
        self._configuration = configuration
        self._around = around
        self._payer = configuration.fee_payer

    def claim(self, packs: Sequence[Pack]) -> Claimed:
        """Lock the wallets that are still as planned, sign for them, and commit the transactions before they are sent."""
        claimed = Claimed()
        blockhash = self._rpc.latest_blockhash(self._configuration.commitment)
        rows = [move.row for pack in packs for move in pack.moves]
        with self._run.write() as tx:
            # Two processes that claim at once would each see the other's wallets as free until one of them commits.
            tx.execute("lock_claims")
            stored = {
                row["wallet_id"]: row["stored_key"]
                for row in tx.rows(
                    "claim_keys",
                    wallet_ids=[row.wallet_id for row in rows],
                    states=[row.state for row in rows],
                    statuses=[row.status for row in rows],
                )
            }
            signed: list[Signed] = []
            for planned in packs:
                pack, keys = self._with_keys(planned, stored, claimed)
                if pack.moves:
                    signed.append(sign(pack, keys, self._payer, blockhash, self._around))
            claimed.sent = self._write_down(tx, signed)
        return claimed

    def without_wallets(self, pack: Pack) -> tuple[Sent, Pack]:
        """Sign a pack that only the fee payer signs, and commit it before it is sent."""
        blockhash = self._rpc.latest_blockhash(self._configuration.commitment)
        signed = sign(pack, {}, self._payer, blockhash, self._around)
        with self._run.write() as tx:
            sent = self._write_down(tx, [signed])
        (only,) = sent.values()
        return only

    def _with_keys(
        self, pack: Pack, stored: dict[int, str], claimed: Claimed
    ) -> tuple[Pack, dict[str, Keypair]]:
        """Decrypt the keys of a pack, and leave out the wallets whose key is unusable or that another process holds."""
        keys: dict[str, Keypair] = {}
        kept: list[Move] = []
        for move in pack.moves:
            row = move.row
            if row.wallet_id not in stored:
                claimed.elsewhere.append(row)
                continue
            try:
                keys[row.address] = self._configuration.keys.keypair(stored[row.wallet_id], row.address)
            except KeyUnusableError as error:
                claimed.unusable.append((row, error))
            else:
                kept.append(move)
        if len(kept) == len(pack.moves):
            return pack, keys
        # Built anew from what is kept: a pack that names a wallet without its signature would be refused as a whole.
        payer = str(self._payer.pubkey())
        smaller = Pack(toll=pack.toll)
        for move in kept:
            smaller = smaller.with_move(move, instructions.of_move(move, self._around, payer))
        return smaller, keys

    def _write_down(self, tx: Transaction, signed: Sequence[Signed]) -> dict[int, tuple[Sent, Pack]]:
        if not signed:
            return {}
        rows = tx.rows(
            "record_transactions",
            command=self._run.command,
            run_id=self._run.run_id,
            signatures=[one.signature for one in signed],
            wires=[one.wire for one in signed],
            heights=[one.last_valid_block_height for one in signed],
            fees=[one.pack.fee for one in signed],
        )
        ids = {row["signature"]: row["id"] for row in rows}
        entries = [(ids[one.signature], move) for one in signed for move in one.pack.moves]
        if entries:
            tx.execute(
                "record_transfers",
                transaction_ids=[number for number, _ in entries],
                wallet_ids=[move.row.wallet_id for _, move in entries],
                payment_ids=[move.row.payment_id for _, move in entries],
                lamports=[move.lamports for _, move in entries],
                rents=[move.rent for _, move in entries],
                tokens=[Jsonb(move.amounts()) for _, move in entries],
            )
        return {
            ids[one.signature]: (
                Sent(ids[one.signature], one.signature, one.wire, one.last_valid_block_height, one.pack.fee),
                one.pack,
            )
            for one in signed
        }
