"""Read wallets from the chain in bulk: every wallet's SOL and token accounts, a hundred keys a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.solana.accounts import (
    SYSTEM_PROGRAM,
    TOKEN_PROGRAMS,
    Holding,
    Mint,
    associated_address,
    parse_holding,
    parse_mint,
)
from cp_ops.solana.wallets import WalletOnChain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cp_ops.solana.configuration import Commitment
    from cp_ops.solana.rpc import Account, Rpc
    from cp_ops.solana.wallets import WalletRow


@dataclass(frozen=True)
class Surroundings:
    """What every transfer needs to know of the chain: the listed mints and the receiver.

    :param mints: the listed mints that exist; those that do not are in `missing`.
    :param receiver_accounts: the receiver's associated account of each mint, and whether it is open.
    """

    mints: dict[str, Mint]
    missing: tuple[str, ...]
    receiver: str
    receiver_lamports: int
    receiver_accounts: dict[str, tuple[str, bool]]

    def programs_of(self, mint: str) -> tuple[str, ...]:
        """Give the token program of a mint; both when the mint's account is gone."""
        known = self.mints.get(mint)
        return (known.program,) if known else TOKEN_PROGRAMS


def read_surroundings(
    rpc: Rpc, commitment: Commitment, *, mints: Sequence[str], receiver: str
) -> Surroundings:
    """Read the listed mints, the receiver and its token accounts: in one reading.

    Which token program a mint belongs to is only known afterwards, so the receiver's account is asked for under each.
    """
    # Asking under both programs costs two keys a mint. Knowing the program first would cost a round trip.
    candidates = {
        (mint, program): associated_address(receiver, mint, program)
        for mint in mints
        for program in TOKEN_PROGRAMS
    }
    addresses = [receiver, *mints, *candidates.values()]
    found = dict(zip(addresses, rpc.accounts(addresses, commitment), strict=True))
    parsed = {mint: parse_mint(mint, found[mint]) for mint in mints}
    known = {mint: details for mint, details in parsed.items() if details is not None}
    accounts = {mint: candidates[mint, details.program] for mint, details in known.items()}
    return Surroundings(
        mints=known,
        missing=tuple(mint for mint in mints if mint not in known),
        receiver=receiver,
        receiver_lamports=_lamports(found[receiver]),
        receiver_accounts={
            mint: (address, parse_holding(address, found[address]) is not None)
            for mint, address in accounts.items()
        },
    )


def read_wallets(
    rpc: Rpc, commitment: Commitment, rows: Iterable[WalletRow], around: Surroundings
) -> dict[str, WalletOnChain]:
    """Read each wallet: its own account, the associated account of every listed mint, and accounts found earlier."""
    rows = list(rows)
    keys = {row.address: [*_associated(row.address, around), *(row.extra_accounts or ())] for row in rows}
    flat = [key for address, accounts in keys.items() for key in (address, *accounts)]
    found = dict(zip(flat, rpc.accounts(flat, commitment), strict=True)) if flat else {}
    return {
        address: _wallet(address, found[address], [(key, found[key]) for key in dict.fromkeys(accounts)])
        for address, accounts in keys.items()
    }


def list_extra_accounts(
    rpc: Rpc, commitment: Commitment, rows: Sequence[WalletRow], around: Surroundings
) -> dict[int, list[str]]:
    """List wallets' token accounts beside the listed associated ones, by wallet id.

    That is a call per wallet and token program, so never for all wallets at once.
    """
    owners = [row.address for row in rows]
    listed = rpc.token_accounts(owners, TOKEN_PROGRAMS, commitment)
    return {
        row.wallet_id: [address for address, _ in found if address not in _associated(row.address, around)]
        for row, found in zip(rows, listed, strict=True)
    }


def _associated(owner: str, around: Surroundings) -> list[str]:
    mints = [*around.mints, *around.missing]
    return [
        associated_address(owner, mint, program) for mint in mints for program in around.programs_of(mint)
    ]


def _wallet(
    address: str, own: Account | None, accounts: Iterable[tuple[str, Account | None]]
) -> WalletOnChain:
    holdings: list[Holding] = []
    for key, account in accounts:
        holding = parse_holding(key, account)
        # Whoever owns an associated account may give it away: it is at the wallet's address and not the wallet's any more.
        if holding is not None and holding.owner == address:
            holdings.append(holding)
    # An address that a program owns or that holds data is no wallet: the system program transfers nothing from it.
    movable = own is None or (own.owner == SYSTEM_PROGRAM and not own.data)
    return WalletOnChain(address, _lamports(own), tuple(holdings), movable)


def _lamports(account: Account | None) -> int:
    return 0 if account is None else account.lamports
