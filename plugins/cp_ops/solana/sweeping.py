"""Carry out moves: claim, sign, write down, send, follow, and look again, until every wallet has its end."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from solders.hash import Hash

from cp_ops.runtime.errors import RemoteRefusedError, RowFailedError
from cp_ops.solana import instructions
from cp_ops.solana.accounting import BalanceSheet
from cp_ops.solana.claims import Claims
from cp_ops.solana.moves import money_of
from cp_ops.solana.packing import UNITS, Pack, Toll, pack_moves
from cp_ops.solana.rpc import TransactionRejectedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import Commitment, SolanaConfiguration
    from cp_ops.solana.moves import Move
    from cp_ops.solana.rpc import Rpc
    from cp_ops.solana.second_look import SecondLook
    from cp_ops.solana.sending import Endings, Sender, Sent
    from cp_ops.solana.wallets import WalletOnChain, WalletRow

log = logging.getLogger(__name__)

WAVE = 64
"""Transactions that share a blockhash: sent well within its life, also where 4 a second are allowed."""
PASSES = 6
"""How often wallets are looked at again and packed anew in one run."""
STRIKES = 2
"""How many transactions of its own a wallet may spoil before it counts as failed."""
UNPAYABLE = ("InsufficientFundsForFee", "AccountNotFound")
"""The node's errors that speak of the fee payer: no other wallet could do better."""
NOBODYS_FAULT = "BlockhashNotFound"
"""The node's error for a blockhash that it does not know yet, or any more."""
OPENED_AT_ONCE = 4
"""The receiver's token accounts that one transaction opens."""


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
        self._claims = Claims(run, rpc, configuration, around)
        self._sender = sender
        self._around = around
        self._second_look = second_look
        self._opened: set[str] = set()
        self._undecided: Counter[str] = Counter()
        self._payer = str(configuration.fee_payer.pubkey())
        self._strikes: Counter[int] = Counter()
        self._result = Swept()
        self._opening: list[Sent] = []
        self.balance = BalanceSheet()

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
        self.balance.fees = self._sender.fees
        self.balance.check()
        return self._result

    def _one_pass(self, pending: list[Move], chain: dict[str, WalletOnChain], toll: Toll) -> list[Move]:
        """Send everything once, wait for the chain, and look again; give what is still to be moved."""
        sent, again = self._send(pending, toll)
        endings = self._sender.follow([*self._opening, *(one for one, _ in sent.values())])
        self._require_opened(endings)
        again += self._not_landed(endings, sent)
        landed = [move for number in endings.landed for move in sent[number][1].moves]
        return self._look(landed, again, chain)

    def _send(self, pending: list[Move], toll: Toll) -> tuple[dict[int, tuple[Sent, Pack]], list[Move]]:
        """Pack, claim and send; give what is on its way, by transaction, and what was refused at once."""
        # A wallet that has spoiled a transaction goes alone from then on, so that it costs the others nothing more.
        alone = [wallet for wallet, strikes in self._strikes.items() if strikes]
        packs = pack_moves(pending, self._around, fee_payer=self._payer, toll=toll, alone=alone)
        sent: dict[int, tuple[Sent, Pack]] = {}
        refused: list[Move] = []
        for start in range(0, len(packs), WAVE):
            claimed = self._claims.claim(packs[start : start + WAVE])
            self._result.problems += claimed.unusable
            self._result.elsewhere += claimed.elsewhere
            wave = claimed.sent
            # The receiver's new accounts are there at `processed` first: tried on an older state, each would be refused.
            preflight: Commitment | None = "processed" if self._opening else None
            first = self._sender.first((one for one, _ in wave.values()), preflight=preflight)
            for number, error in first.rejected.items():
                refused += self._blame(wave.pop(number)[1], error.err, error)
            sent |= wave
            self._run.progress(f"{len(sent)} transactions sent")
        self._result.transactions += len(sent)
        return sent, refused

    def _not_landed(self, endings: Endings, sent: dict[int, tuple[Sent, Pack]]) -> list[Move]:
        """Give what the chain did not carry out and never will; what it may still carry out is left alone."""
        again: list[Move] = []
        for number, err in endings.failed.items():
            error = TransactionRejectedError(err, f"landed with error {err}")
            again += self._blame(sent[number][1], err, error)
        again += [move for number in endings.expired for move in sent[number][1].moves]
        # What is undecided may still move: it counts for the caps of this run as if it had.
        for number in endings.undecided:
            self._result.undecided += [move.row for move in sent[number][1].moves]
            self._undecided.update(money_of(sent[number][1].moves))
        return again

    def _look(
        self, landed: Sequence[Move], again: Sequence[Move], chain: dict[str, WalletOnChain]
    ) -> list[Move]:
        """Read the wallets anew: those that gave everything are done, what still holds something is moved again."""
        rows = [move.row for move in (*landed, *again)]
        if not rows:
            return []
        after = self._second_look.read(rows)
        # The sheet first: if somebody else moves these funds, the run stops before it signs for them again.
        for move in landed:
            self.balance.moved(chain[move.row.address], move, after[move.row.address])
        committed = self.balance.swept + self._undecided
        seen = self._second_look.plan(landed, again, chain, after, committed)
        chain |= after
        self._result.problems += seen.problems
        rest = {move.row.wallet_id for move in seen.moves} | {row.wallet_id for row, _ in seen.problems}
        self._result.more += [move for move in landed if move.row.wallet_id in rest]
        self._result.done += [move for move in landed if move.row.wallet_id not in rest]
        return seen.moves

    def _blame(self, pack: Pack, err: Any, error: TransactionRejectedError) -> list[Move]:
        """Find whose fault a refusal is. That wallet goes on alone, then not at all, and the others are packed again."""
        # It will be the same for every other transaction, so the run ends before it blames wallets for it.
        if err in UNPAYABLE:
            raise RemoteRefusedError(f"the fee payer {self._payer} cannot pay: send it SOL")
        culprit = self._culprit(pack, error)
        # A refusal that names nobody is the wallet's own where it was alone, and nobody's where several went together.
        if culprit is None and len(pack.moves) == 1 and err != NOBODYS_FAULT:
            culprit = pack.moves[0]
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
            keys = pack.message(self._payer, Hash.default()).account_keys
            address = str(keys[error.account])
            return next((move for move in pack.moves if move.row.address == address), None)
        return None

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
        for start in range(0, len(closed), OPENED_AT_ONCE):
            body = [
                instructions.open_receiver_account(mint, self._around, self._payer)
                for mint in closed[start : start + OPENED_AT_ONCE]
            ]
            one, _ = self._claims.without_wallets(Pack(body=body, units=UNITS["open"] * len(body), toll=toll))
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
            # It moved no wallet's funds, so nothing is looked at again for it.
            endings.landed.discard(one.id)
        self._opening.clear()

    def _not_opened(self, problem: object) -> RemoteRefusedError:
        return RemoteRefusedError(
            f"the receiver's token accounts could not be opened: {problem or 'the chain did not take it in time'}. "
            f"The fee payer {self._payer} pays their rent"
        )
