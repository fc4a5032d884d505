"""The run's balance sheet. For each mint, what was in the wallets = swept + rent recovered + left behind. Fees stand beside it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import CpOpsError
from cp_ops.solana.wallets import SOL

if TYPE_CHECKING:
    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.moves import Move
    from cp_ops.solana.wallets import WalletOnChain


class AccountingError(CpOpsError):
    """Wallets hold less than they must after what this run moved: somebody else moves funds from them."""


@dataclass
class BalanceSheet:
    """Amounts of one run, in lamports and in minor units by mint.

    `before` is what the moved wallets held when their transaction was built, rent included.
    """

    before: Counter[str] = field(default_factory=Counter)
    swept: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    arrived: Counter[str] = field(default_factory=Counter)
    rent: int = 0
    fees: int = 0

    def moved(self, chain: WalletOnChain, move: Move, after: WalletOnChain) -> None:
        """Enter a wallet whose transaction has landed, with what it held before and what a new reading shows.

        :raises AccountingError: when it holds less than it must.
        """
        before = _contents(chain)
        swept = Counter({SOL: move.lamports, **move.amounts()})
        left = _contents(after)
        # Counters drop what reaches zero, so SOL is set by hand: its rent went to the fee payer and was not swept.
        expected = before - swept
        expected[SOL] = before[SOL] - move.lamports - move.rent
        for mint, amount in expected.items():
            # More than expected is money that came in meanwhile. Less means that another process signs for this wallet.
            if left[mint] < amount:
                raise AccountingError(
                    f"wallet {move.row.wallet_id} holds {left[mint]} of {mint}, {amount} must be left: "
                    "somebody else moves its funds"
                )
        self.before.update(before)
        self.swept.update(swept)
        self.rent += move.rent
        self.left.update(expected)
        self.arrived.update(left - expected)

    def check(self) -> None:
        """Assert the equation of every mint.

        :raises AccountingError: when an amount is unaccounted for.
        """
        for mint, amount in self.before.items():
            rest = self.swept[mint] + self.left[mint] + (self.rent if mint == SOL else 0)
            if amount != rest:
                raise AccountingError(f"{amount} of {mint} were in the wallets, {rest} are accounted for")

    def note(self, run: JobRun) -> None:
        """Put the sums into the outcome."""
        run.note("lamports_before", self.before[SOL])
        run.note("lamports_swept", self.swept[SOL])
        run.note("lamports_rent_recovered", self.rent)
        run.note("lamports_left", self.left[SOL])
        run.note("lamports_arrived_meanwhile", self.arrived[SOL])
        run.note("lamports_fees", self.fees)
        for mint in sorted(self.before.keys() - {SOL}):
            run.note(
                f"token {mint}", f"before={self.before[mint]} swept={self.swept[mint]} left={self.left[mint]}"
            )


def _contents(chain: WalletOnChain) -> Counter[str]:
    found = chain.money()
    found[SOL] += chain.rent
    return found
