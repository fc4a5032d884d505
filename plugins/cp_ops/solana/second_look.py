"""Wallets looked at again while they are moved: what is left, and what came in meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import RowFailedError
from cp_ops.solana.cases import Case
from cp_ops.solana.chain import read_wallets
from cp_ops.solana.moves import above_caps, money_of
from cp_ops.solana.plan import Terms, arrived, plan_wallets
from cp_ops.solana.reports import report_arrivals
from cp_ops.solana.wallets import PaymentStatus, WalletState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cp_ops.runtime.findings import Finding
    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import SolanaConfiguration
    from cp_ops.solana.moves import Move
    from cp_ops.solana.rpc import Rpc
    from cp_ops.solana.wallets import WalletOnChain, WalletRow


@dataclass
class Seen:
    """What a second look says.

    :param moves: what is still to be moved.
    :param problems: wallets that are left to the next run, and why.
    """

    moves: list[Move] = field(default_factory=list)
    problems: list[tuple[WalletRow, RowFailedError]] = field(default_factory=list)


class SecondLook:
    """Reads wallets anew after a pass, reports what came in meanwhile, and plans what is still to be moved."""

    def __init__(
        self, run: JobRun, rpc: Rpc, configuration: SolanaConfiguration, around: Surroundings
    ) -> None:
        self._run = run
        self._rpc = rpc
        self._configuration = configuration
        self._around = around

    def read(self, rows: Sequence[WalletRow]) -> dict[str, WalletOnChain]:
        """Read wallets."""
        return read_wallets(self._rpc, self._configuration.commitment, rows, self._around)

    def plan(
        self,
        landed: Sequence[Move],
        again: Sequence[Move],
        before: Mapping[str, WalletOnChain],
        after: Mapping[str, WalletOnChain],
        committed: Counter[str],
    ) -> Seen:
        """Plan what is left, after what came in is reported: nothing of it is signed for before that commits.

        :param landed: moves that the chain has carried out.
        :param again: moves that it has not, and will not.
        :param before: the wallets as these moves were planned on, by address.
        :param after: as they are now.
        :param committed: what this run has moved, or may have: the caps hold for the sum.
        """
        came: dict[int, Counter[str]] = {}
        cases: list[Case] = []
        for move, done in [*((move, True) for move in landed), *((move, False) for move in again)]:
            row = replace(move.row, moves=move.row.moves + done)
            # Where the money went is known, so the planner must not ask the chain's history for it.
            cases.append(Case(row, after[row.address], transfer="moved in this run"))
            expected = before[row.address].money() - (money_of([move]) if done else Counter())
            came[row.wallet_id] = after[row.address].money() - expected
        emptied = {move.row.wallet_id for move in landed}
        self._report([found for case in cases if (found := self._finding(case, came, emptied)) is not None])
        # No chain time: nothing may expire on a second look, which has read no history.
        moves = plan_wallets(cases, Terms(self._run.now, None, self._around)).moves
        return self._within_caps(moves, came, committed)

    def _finding(self, case: Case, came: Mapping[int, Counter[str]], emptied: set[int]) -> Finding | None:
        """Report what came in: beside what was there and is still to be moved, or alone."""
        row, amounts = case.row, came[case.row.wallet_id]
        if not amounts:
            return None
        # A wallet that was not emptied yet still holds what is to be swept: an accepted payment's money is no arrival.
        if row.wallet_id not in emptied:
            if row.status != PaymentStatus.EXPIRED and row.state != WalletState.SENT:
                return None
            amounts = case.chain.money()
        return arrived(
            case,
            WalletState.CLOSED if row.status == PaymentStatus.EXPIRED else WalletState.SENT,
            self._around,
            amounts,
        )

    def _report(self, findings: Sequence[Finding]) -> None:
        if findings:
            with self._run.write() as tx:
                report_arrivals(self._run, tx, findings)

    def _within_caps(
        self, moves: Sequence[Move], came: Mapping[int, Counter[str]], committed: Counter[str]
    ) -> Seen:
        """Leave wallets that got more to the next run, where moving it would exceed a cap in this one."""
        settings = self._run.settings
        caps = (settings.solana_max_sweep_lamports, settings.solana_max_sweep_tokens)
        # The caps hold for the run as a whole, so money that keeps coming in cannot raise what one run moves.
        above = list(above_caps(committed + money_of(moves), *caps, self._around))
        if not above:
            return Seen(list(moves))
        setting, amount, limit, unit = above[0]
        error = RowFailedError(
            f"money came in while it was moved: {amount} {unit} in this run are more than "
            f"[cp_ops] {setting}={limit} allows; the next run goes on"
        )
        return Seen(
            [move for move in moves if not came[move.row.wallet_id]],
            [(move.row, error) for move in moves if came[move.row.wallet_id]],
        )
