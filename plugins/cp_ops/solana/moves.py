"""What one wallet gives in a transaction, and what a run may move at most."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.solana.wallets import SOL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cp_ops.solana.accounts import Holding
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.wallets import WalletRow

SWEEP = "sweep"
CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Move:
    """Everything that one wallet gives in a transaction.

    :param tokens: token accounts whose balance goes to the receiver's account of the same mint.
    :param closes: token accounts to close afterwards, their rent to the fee payer.
    :param target: the wallet's state once the chain shows that nothing is left; None to leave it.
    """

    row: WalletRow
    lamports: int
    tokens: tuple[Holding, ...]
    closes: tuple[Holding, ...]
    target: str | None

    @property
    def brings_money(self) -> bool:
        """Whether money moves, and not only rent comes back."""
        return bool(self.lamports or self.tokens)

    @property
    def kind(self) -> str:
        """The kind of the plan's action: ``sweep`` when money moves, ``close`` when only rent comes back."""
        return SWEEP if self.brings_money else CLOSE

    @property
    def rent(self) -> int:
        """Lamports that come back to the fee payer."""
        return sum(holding.lamports for holding in self.closes)

    def amounts(self) -> dict[str, int]:
        """Give the minor units that leave, by mint."""
        totals: Counter[str] = Counter()
        for holding in self.tokens:
            totals[holding.mint] += holding.amount
        return dict(totals)


def money_of(moves: Iterable[Move]) -> Counter[str]:
    """Sum up what moves take to the receiver: lamports, and minor units by mint."""
    totals: Counter[str] = Counter()
    for move in moves:
        totals.update({SOL: move.lamports, **move.amounts()})
    return totals


def above_caps(
    totals: Mapping[str, int], max_lamports: int, max_tokens: int, around: Surroundings
) -> Iterator[tuple[str, int, int, str]]:
    """Give each cap that is exceeded: the setting, the amount, what is allowed, the unit."""
    for mint, amount in totals.items():
        if mint == SOL:
            if amount > max_lamports:
                yield "solana_max_sweep_lamports", amount, max_lamports, "lamports"
            continue
        # Whole tokens, rounded up: a part of a token above the cap is above the cap.
        whole = -(-amount // 10 ** around.mints[mint].decimals)
        if whole > max_tokens:
            yield "solana_max_sweep_tokens", whole, max_tokens, f"units of {mint}"
