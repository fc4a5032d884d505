"""A wallet to decide on, with everything that the rows and the chain say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cp_ops.solana.verdicts import PaymentVerdict
    from cp_ops.solana.wallets import WalletOnChain, WalletRow


@dataclass(frozen=True, slots=True)
class Case:
    """A wallet to decide on.

    :param verdict: for an initiated payment, what the chain says of it.
    :param transfer: for an accepted payment's empty wallet, the transaction that emptied it, when one is known.
    :param hold: why nothing may be moved and nothing expire in this run, such as two readings that differ.
    """

    row: WalletRow
    chain: WalletOnChain
    verdict: PaymentVerdict | None = None
    transfer: str | None = None
    hold: str = ""
