"""Carry out moves: claim, sign, write down, send, follow, and look again, until every wallet has its end."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.errors import RemoteRefusedError, RowFailedError
from cp_ops.solana import instructions
from cp_ops.solana.accounting import Account
from cp_ops.solana.keys import KeyUnusableError
from cp_ops.solana.packing import Pack, Toll, pack_moves
from cp_ops.solana.plan import money_of
from cp_ops.solana.rpc import TransactionRejectedError
from cp_ops.solana.sending import Sent
from cp_ops.solana.signing import sign

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from solders.keypair import Keypair

    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import Commitment, SolanaConfiguration
    from cp_ops.solana.plan import Move
    from cp_ops.solana.rpc import Rpc
    from cp_ops.solana.second_look import SecondLook
    from cp_ops.solana.sending import Endings, Sender
    from cp_ops.solana.signing import Signed
    from cp_ops.solana.wallets import WalletOnChain, WalletRow

log = logging.getLogger(__name__)

WAVE = 64
"""Transactions that share a blockhash: sent well within its life, also where 4 a second are allowed."""
PASSES = 6
"""How often wallets are looked at again and packed anew in one run."""
STRIKES = 2
"""How many transactions of its own a wallet may spoil before it counts as failed."""
UNPAYABLE = ("InsufficientFundsForFee", "AccountNotFound")


@dataclass
class Swept:
    """How moving went.

    :param done: wallets whose last look showed nothing left, with what was moved last.
    :param problems: wallets that cannot be moved, and why.
    """

    done: list[Move] = field(default_factory=list)
    more: list[Move] = field(default_factory=list)
    problems: list[tuple[WalletRow, RowFailedError]] = field(default_factory=list)
    undecided: list[WalletRow] = field(default_factory=list)
    elsewhere: list[WalletRow] = field(default_factory=list)
    transactions: int = 0


class Sweeper:
    """Moves wallets' funds.

    :param second_look: reads wallets anew and plans them anew.
    """

    def __init__(
        self,
        run: JobRun,
        rpc: Rpc,
        configuration: SolanaConfiguration,
        sender: Sender,
        around: Surroundings,
        second_look: SecondLook,
    ) -> None:
        self._run = run
        self._rpc = rpc
        self._configuration = configuration
        self._sender = sender
        self._around = around
        self._second_look = second_look
        self._opened: set[str] = set()
        self._undecided: Counter[str] = Counter()
        self._payer = str(configuration.fee_payer.pubkey())
        self._strikes: Counter[int] = Counter()
        self._result = Swept()
        self._opening: list[Sent] = []
        self.account = Account()

    def sweep(self, moves: Sequence[Move], chain: dict[str, WalletOnChain]) -> Swept:
        """Carry out moves.

        :param chain: the wallets as the moves were planned on, by address; kept up to date.
        """
        toll = Toll(self._unit_price())
        pending = list(moves)
        for _ in range(PASSES):
            if not pending:
                break
            self._open_receiver_accounts(pending, toll)
            pending = self._one_pass(pending, chain, toll)
        for move in pending:
            error = RowFailedError(f"still not moved after {PASSES} attempts; the next run goes on")
            self._result.problems.append((move.row, error))
        self.account.fees = self._sender.fees
        self.account.check()
        return self._result

    # -- one pass ------------------------------------------------------------------------------------------------

    def _one_pass(self, pending: list[Move], chain: dict[str, WalletOnChain], toll: Toll) -> list[Move]:
        alone = [wallet for wallet, strikes in self._strikes.items() if strikes]
        packs = pack_moves(pending, self._around, fee_payer=self._payer, toll=toll, alone=alone)
        sent: dict[int, tuple[Sent, Pack]] = {}
        again: list[Move] = []
        for start in range(0, len(packs), WAVE):
            wave = self._claim_and_sign(packs[start : start + WAVE])
            preflight: Commitment | None = "processed" if self._opening else None
            first = self._sender.first((one for one, _ in wave.values()), preflight=preflight)
            for number, error in first.rejected.items():
                again += self._blame(wave.pop(number)[1], error.err, error)
            sent |= wave
            self._run.progress(f"{len(sent)} transactions sent")
        self._result.transactions += len(sent)
        endings = self._sender.follow([*self._opening, *(one for one, _ in sent.values())])
        self._require_opened(endings)
        for number, err in endings.failed.items():
            again += self._blame(
                sent[number][1], err, TransactionRejectedError(err, f"landed with error {err}")
            )
        again += [move for number in endings.expired for move in sent[number][1].moves]
        for number in endings.undecided:
            self._result.undecided += [move.row for move in sent[number][1].moves]
            self._undecided.update(money_of(sent[number][1].moves))
        landed = [move for number in endings.landed for move in sent[number][1].moves]
        return self._look(landed, again, chain)

    def _look(
        self, landed: Sequence[Move], again: Sequence[Move], chain: dict[str, WalletOnChain]
    ) -> list[Move]:
        """Read the wallets anew: those that gave everything are done, what still holds something is moved again."""
        rows = [move.row for move in (*landed, *again)]
        if not rows:
            return []
        after = self._second_look.read(rows)
        for move in landed:
            self.account.moved(chain[move.row.address], move, after[move.row.address])
        committed = self.account.swept + self._undecided
        seen = self._second_look.plan(landed, again, chain, after, committed)
        chain |= after
        self._result.problems += seen.problems
        rest = {move.row.wallet_id for move in seen.moves} | {row.wallet_id for row, _ in seen.problems}
        self._result.more += [move for move in landed if move.row.wallet_id in rest]
        self._result.done += [move for move in landed if move.row.wallet_id not in rest]
        return seen.moves

    def _blame(self, pack: Pack, err: Any, error: TransactionRejectedError) -> list[Move]:
        """Find whose fault a refusal is: that wallet goes on alone, then not at all; the others are packed again."""
        if err in UNPAYABLE:
            raise RemoteRefusedError(f"the fee payer {self._payer} cannot pay: send it SOL")
        culprit = self._culprit(pack, error)
        if culprit is None:
            if len(pack.moves) > 1:
                return pack.moves
            culprit = pack.moves[0] if err != "BlockhashNotFound" else None
        if culprit is None:
            return pack.moves
        self._strikes[culprit.row.wallet_id] += 1
        if self._strikes[culprit.row.wallet_id] < STRIKES:
            return pack.moves
        self._result.problems.append((culprit.row, error))
        return [move for move in pack.moves if move is not culprit]

    def _culprit(self, pack: Pack, error: TransactionRejectedError) -> Move | None:
        if error.instruction is not None:
            return pack.culprit(error.instruction)
        if error.account is not None:
            from solders.hash import Hash

            keys = pack.message(self._payer, Hash.default()).account_keys
            address = str(keys[error.account])
            return next((move for move in pack.moves if move.row.address == address), None)
        return None

    # -- claim, sign, write down ---------------------------------------------------------------------------------

    def _claim_and_sign(self, packs: Sequence[Pack]) -> dict[int, tuple[Sent, Pack]]:
        """Lock the wallets that are still as planned, sign for them, and commit the transactions before they are sent."""
        blockhash = self._rpc.latest_blockhash(self._configuration.commitment)
        rows = [move.row for pack in packs for move in pack.moves]
        with self._run.write() as tx:
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
                pack, keys = self._with_keys(planned, stored)
                if pack.moves:
                    payer = self._configuration.fee_payer
                    signed.append(sign(pack, keys, payer, blockhash, self._around))
            return self._write_down(tx, signed)

    def _with_keys(self, pack: Pack, stored: dict[int, str]) -> tuple[Pack, dict[str, Keypair]]:
        """Decrypt the keys of a pack, and leave out the wallets whose key is unusable or that another process holds."""
        keys: dict[str, Keypair] = {}
        kept: list[Move] = []
        for move in pack.moves:
            row = move.row
            if row.wallet_id not in stored:
                self._result.elsewhere.append(row)
                continue
            try:
                keys[row.address] = self._configuration.keys.keypair(stored[row.wallet_id], row.address)
            except KeyUnusableError as error:
                self._result.problems.append((row, error))
            else:
                kept.append(move)
        if len(kept) == len(pack.moves):
            return pack, keys
        smaller = Pack(toll=pack.toll)
        for move in kept:
            smaller = smaller.with_move(move, instructions.of_move(move, self._around, self._payer))
        return smaller, keys

    def _write_down(self, tx: Any, signed: Sequence[Signed]) -> dict[int, tuple[Sent, Pack]]:
        from psycopg.types.json import Jsonb

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

    # -- around it -----------------------------------------------------------------------------------------------

    def _unit_price(self) -> int:
        """Give the priority fee to pay: what three quarters of recent blocks were content with, capped."""
        recent = sorted(self._rpc.recent_priority_fees([self._payer, self._around.receiver]))
        price = recent[len(recent) * 3 // 4] if recent else 0
        return min(price, self._configuration.max_priority_fee)

    def _open_receiver_accounts(self, moves: Iterable[Move], toll: Toll) -> None:
        """Open the receiver's token accounts that are missing, before anything is sent to them.

        Once the chain shows them, the transfers follow: they are tried on that state. Should the chain drop the block,
        they land with an error, and are sent again.
        """
        wanted = {holding.mint for move in moves for holding in move.tokens} - self._opened
        closed = sorted(mint for mint in wanted if not self._around.receiver_accounts[mint][1])
        for start in range(0, len(closed), 4):
            body = [
                instructions.open_receiver_account(mint, self._around, self._payer)
                for mint in closed[start : start + 4]
            ]
            pack = Pack(body=body, units=60_000 * len(body), toll=toll)
            blockhash = self._rpc.latest_blockhash(self._configuration.commitment)
            signed = sign(pack, {}, self._configuration.fee_payer, blockhash, self._around)
            with self._run.write() as tx:
                sent = self._write_down(tx, [signed])
            ((one, _),) = sent.values()
            for error in self._sender.first([one]).rejected.values():
                raise self._not_opened(error)
            self._result.transactions += 1
            self._opening.append(one)
            if not self._sender.appear([one]):
                self._require_opened(self._sender.follow(self._opening))
        self._opened |= wanted

    def _require_opened(self, endings: Endings) -> None:
        for one in self._opening:
            if one.id not in endings.landed:
                raise self._not_opened(endings.failed.get(one.id))
            endings.landed.discard(one.id)
        self._opening.clear()

    def _not_opened(self, problem: object) -> RemoteRefusedError:
        return RemoteRefusedError(
            f"the receiver's token accounts could not be opened: {problem or 'the chain did not take it in time'}. "
            f"The fee payer {self._payer} pays their rent"
        )
