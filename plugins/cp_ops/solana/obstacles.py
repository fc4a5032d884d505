"""What cannot be moved from a wallet, or not closed, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.solana.findings import Condition, of_token_account, of_wallet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cp_ops.runtime.findings import Finding
    from cp_ops.solana.accounts import Holding
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.wallets import WalletOnChain, WalletRow


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something in a wallet that cannot be moved or closed.

    :param holding: the token account; None when it is the wallet itself.
    """

    condition: Condition
    holding: Holding | None = None

    def finding(self, row: WalletRow) -> Finding:
        """Report it."""
        if self.holding is None:
            return of_wallet(row, self.condition)
        return of_token_account(row, self.condition, self.holding)


def obstacles(row: WalletRow, chain: WalletOnChain, around: Surroundings) -> Iterator[Obstacle]:
    """Find what cannot be moved or closed, with the reason."""
    # A program owns this address. Its lamports follow that program's rules, and the wallet's key cannot transfer them.
    if not chain.movable and chain.lamports:
        yield Obstacle(Condition.NOT_A_PLAIN_ACCOUNT)
    for holding in chain.holdings:
        condition = _obstacle_to(holding, row.address, around)
        if condition is not None:
            yield Obstacle(condition, holding)


def _obstacle_to(holding: Holding, owner: str, around: Surroundings) -> Condition | None:
    # The token program refuses to transfer from a frozen account, and to close it.
    if holding.frozen:
        return Condition.FROZEN_ACCOUNT
    # Closing it would fail, and with it the transaction that up to nine other wallets share.
    if holding.close_authority not in (None, owner):
        return Condition.FOREIGN_CLOSE_AUTHORITY
    # An empty account can be closed whatever its mint is. Only a transfer needs a mint and a receiver's account.
    if not holding.amount:
        return None
    if holding.mint in around.missing:
        return Condition.MINT_NOT_FOUND
    if holding.mint not in around.mints:
        return Condition.UNLISTED_MINT
    return None
