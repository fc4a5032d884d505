"""Money that has left a wallet already: the transaction that took it out, and whether it had paid the price in time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cp_ops.solana.accounts import associated_address
from cp_ops.solana.history import (
    Late,
    Pending,
    Underpaid,
    best_of,
    change,
    completed,
    credits_in,
    merge,
    prices_due,
    read_transactions,
)
from cp_ops.solana.wallets import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import Commitment
    from cp_ops.solana.history import Verdict
    from cp_ops.solana.rpc import Rpc, SignatureInfo
    from cp_ops.solana.wallets import WalletOnChain, WalletRow

NEWEST = 25
"""How many of a wallet's newest transactions are read for the one that emptied it."""


@dataclass
class Transfers:
    """Which transactions emptied wallets.

    :param found: by wallet id, the signature.
    :param unread: wallets of which a transaction could not be read, and none was found.
    """

    found: dict[int, str] = field(default_factory=dict)
    unread: set[int] = field(default_factory=set)


def find_transfers(
    rpc: Rpc, commitment: Commitment, rows: Sequence[WalletRow], around: Surroundings
) -> Transfers:
    """Find the newest transaction that moved money from an empty wallet to the receiver.

    Its signature is in the wallet's history and in that of the receiver (or of one of its token accounts). Where those
    histories do not reach back far enough, the wallet's newest transactions are read.
    """
    result = Transfers()
    if not rows:
        return result
    receivers = [around.receiver, *(address for address, open_ in around.receiver_accounts.values() if open_)]
    histories = rpc.histories([*receivers, *(row.address for row in rows)], commitment)
    received = {line.signature for line in merge(histories[: len(receivers)])}
    unclear: list[tuple[WalletRow, list[SignatureInfo]]] = []
    for row, history in zip(rows, histories[len(receivers) :], strict=True):
        good = [line for line in history if not line.failed]
        match = next((line.signature for line in good if line.signature in received), None)
        if match is not None:
            result.found[row.wallet_id] = match
        elif len(good) > 1:
            unclear.append((row, good[:NEWEST]))
    read = read_transactions(rpc, commitment, (line for _, good in unclear for line in good))
    for row, good in unclear:
        for line in good:
            details = read[line.signature]
            if details is None:
                result.unread.add(row.wallet_id)
            elif _moves_to(details, row.address, around):
                result.found[row.wallet_id] = line.signature
                break
    result.unread -= result.found.keys()
    return result


def _moves_to(details: Mapping[str, Any], wallet: str, around: Surroundings) -> bool:
    return any(
        change(details, wallet, mint) < 0 and change(details, around.receiver, mint) > 0
        for mint in (None, *around.mints)
    )


def judge_departed(
    rpc: Rpc,
    commitment: Commitment,
    wallets: Iterable[tuple[WalletRow, WalletOnChain]],
    around: Surroundings,
) -> dict[int, Verdict]:
    """Judge payments by what came into their wallets, whatever has left them since, by payment id.

    The application may have sent a payment's money on and died before it said so. A wallet signs what leaves it, so its
    own history (one call) shows whether anything did; only then are its token accounts' histories and the transactions
    read. Payments of which nothing has left are not in the answer: their balance tells.
    """
    verdicts: dict[int, Verdict] = {}
    asked = list(wallets)
    if not asked:
        return verdicts
    moved: list[tuple[WalletRow, WalletOnChain, list[SignatureInfo]]] = []
    histories = rpc.histories([row.address for row, _ in asked], commitment)
    for (row, chain), history in zip(asked, histories, strict=True):
        own = merge([history])
        if chain.holdings and not own and row.state != State.CREATED:
            verdicts[row.payment_id] = Pending()
        elif len(own) > bool(chain.holdings):
            moved.append((row, chain, own))
    if not moved:
        return verdicts
    accounts = {row.address: _accounts(row, chain, around) for row, chain, _ in moved}
    flat = list(dict.fromkeys(account for by_mint in accounts.values() for _, account in by_mint))
    found = dict(zip(flat, rpc.histories(flat, commitment), strict=True)) if flat else {}
    lines: dict[tuple[str, str | None], list[SignatureInfo]] = {}
    for row, _, own in moved:
        for mint in dict.fromkeys(price.mint for price, _ in prices_due(row, around)):
            theirs = [found[account] for of, account in accounts[row.address] if of == mint]
            lines[row.address, mint] = merge([own, *theirs])
    read = read_transactions(rpc, commitment, (line for history in lines.values() for line in history))
    for row, _, _ in moved:
        verdict = _judge(
            row, {mint: h for (owner, mint), h in lines.items() if owner == row.address}, read, around
        )
        if verdict is not None:
            verdicts[row.payment_id] = verdict
    return verdicts


def _accounts(row: WalletRow, chain: WalletOnChain, around: Surroundings) -> list[tuple[str, str]]:
    """Give the token accounts that a payment may have gone to, with their mints."""
    found = [(holding.mint, holding.address) for holding in chain.holdings]
    for price, _ in prices_due(row, around):
        if price.mint is not None:
            program = around.mints[price.mint].program
            found.append((price.mint, associated_address(row.address, price.mint, program)))
    return list(dict.fromkeys(found))


def _judge(
    row: WalletRow,
    lines: Mapping[str | None, Sequence[SignatureInfo]],
    read: Mapping[str, Mapping[str, Any] | None],
    around: Surroundings,
) -> Verdict | None:
    answers: list[tuple[int, Verdict]] = []
    came: Counter[str | None] = Counter()
    left = False
    for price, due in prices_due(row, around):
        theirs = [line for line in lines[price.mint] if not _signed(read[line.signature], row.address)]
        left = left or len(theirs) < len(lines[price.mint])
        received = credits_in(theirs, read, row.address, price.mint)
        if received is None:
            answers.append((row.payment_id, Pending()))
            continue
        came[price.mint] = sum(credit.amount for credit in received)
        paid = completed(row, price, due, received)
        if paid is not None:
            answers.append((row.payment_id, paid))
        elif came[price.mint] >= due:
            answers.append((row.payment_id, Late(price.mint, came[price.mint])))
    best = best_of(answers).get(row.payment_id)
    if not left and not isinstance(best, Pending):
        return None
    amounts = tuple((mint, amount) for mint, amount in came.items() if amount)
    if isinstance(best, Late):
        return Late(best.mint, best.amount, amounts)
    return best or (Underpaid(amounts) if amounts else None)


def _signed(details: Mapping[str, Any] | None, owner: str) -> bool:
    """Whether the wallet itself signed: then what came in by it is no customer's payment."""
    if details is None:
        return False
    keys = details["transaction"]["message"]["accountKeys"]
    return any(key["pubkey"] == owner and key["signer"] for key in keys)
