"""Money that has left a wallet already: the transaction that took it out, and whether it had paid the price in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cp_ops.solana.accounts import associated_address
from cp_ops.solana.history import best_of, change, completed, credits_in, merge, prices_due, read_transactions
from cp_ops.solana.verdicts import Late, Pending, Underpaid
from cp_ops.solana.wallets import WalletState

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import Commitment
    from cp_ops.solana.rpc import Rpc, SignatureInfo
    from cp_ops.solana.verdicts import PaymentVerdict
    from cp_ops.solana.wallets import Price, WalletOnChain, WalletRow

    TransactionsRead = Mapping[str, Mapping[str, Any] | None]

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
    # One call for the receiver answers for every wallet whose transfer is recent; reading transactions costs one call each.
    received = {line.signature for line in merge(histories[: len(receivers)])}
    unclear: list[tuple[WalletRow, list[SignatureInfo]]] = []
    for row, history in zip(rows, histories[len(receivers) :], strict=True):
        landed = [line for line in history if not line.failed]
        shared = _newest_of(landed, received)
        if shared is not None:
            result.found[row.wallet_id] = shared
        elif _may_have_given(landed):
            unclear.append((row, landed[:NEWEST]))
    read = read_transactions(rpc, commitment, (line for _, newest in unclear for line in newest))
    for row, newest in unclear:
        _search(row, newest, read, around, result)
    return result


def _newest_of(landed: Sequence[SignatureInfo], received: Container[str]) -> str | None:
    """Give the newest of a wallet's transactions that the receiver's history names, too."""
    return next((line.signature for line in landed if line.signature in received), None)


def _may_have_given(landed: Sequence[SignatureInfo]) -> bool:
    """Whether a wallet's history has room for a transfer: a single transaction is what paid it, or opened its accounts."""
    return len(landed) > 1


def _search(
    row: WalletRow,
    newest: Sequence[SignatureInfo],
    read: TransactionsRead,
    around: Surroundings,
    result: Transfers,
) -> None:
    """Search a wallet's newest transactions for one that moved money to the receiver."""
    unread = False
    for line in newest:
        details = read[line.signature]
        if details is None:
            # The one that cannot be read may be the transfer, so nothing is concluded unless an older one is found.
            unread = True
        elif _moves_to(details, row.address, around):
            result.found[row.wallet_id] = line.signature
            return
    if unread:
        result.unread.add(row.wallet_id)


def _moves_to(details: Mapping[str, Any], wallet: str, around: Surroundings) -> bool:
    """Whether a transaction took something from the wallet and brought the receiver something of the same mint."""
    return any(
        change(details, wallet, mint) < 0 and change(details, around.receiver, mint) > 0
        for mint in (None, *around.mints)
    )


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A payment whose money may have left its wallet.

    :param own: the transactions that name the wallet's own address, newest first.
    """

    row: WalletRow
    chain: WalletOnChain
    own: list[SignatureInfo]

    @property
    def history_is_missing(self) -> bool:
        """Whether the node keeps no history of a wallet that must have one.

        The transaction that opened the token accounts must be in the wallet's history. If the history is empty, the node
        is missing data and nothing may be concluded. The
        application marks a wallet before it sends, so in state `created` the balance is trusted all the same.
        """
        return bool(self.chain.holdings) and not self.own and self.row.state != WalletState.CREATED

    @property
    def may_have_given(self) -> bool:
        """Whether something happened beside the opening of its token accounts, which names the wallet once."""
        return len(self.own) > bool(self.chain.holdings)


def judge_departed(
    rpc: Rpc,
    commitment: Commitment,
    wallets: Iterable[tuple[WalletRow, WalletOnChain]],
    around: Surroundings,
) -> dict[int, PaymentVerdict]:
    """Judge payments by what came into their wallets, whatever has left them since, by payment id.

    The application may have sent a payment's money on and died before it said so. A wallet signs what leaves it, so its
    own history (one call) shows whether anything did; only then are its token accounts' histories and the transactions
    read. Payments of which nothing has left are not in the answer: their balance tells.
    """
    asked = list(wallets)
    if not asked:
        return {}
    histories = rpc.histories([row.address for row, _ in asked], commitment)
    suspects = [
        _Suspect(row, chain, merge([history])) for (row, chain), history in zip(asked, histories, strict=True)
    ]
    verdicts: dict[int, PaymentVerdict] = {
        suspect.row.payment_id: Pending() for suspect in suspects if suspect.history_is_missing
    }
    giving = [suspect for suspect in suspects if suspect.may_have_given]
    return verdicts | _judge_by_transactions(rpc, commitment, giving, around)


def _judge_by_transactions(
    rpc: Rpc, commitment: Commitment, suspects: Sequence[_Suspect], around: Surroundings
) -> dict[int, PaymentVerdict]:
    """Read all that happened to these wallets and their token accounts, and judge each payment by it."""
    accounts = [_accounts(suspect, around) for suspect in suspects]
    flat = list(dict.fromkeys(account for by_mint in accounts for _, account in by_mint))
    histories = dict(zip(flat, rpc.histories(flat, commitment), strict=True)) if flat else {}
    lines = [
        _lines_by_mint(suspect, by_mint, histories, around)
        for suspect, by_mint in zip(suspects, accounts, strict=True)
    ]
    read = read_transactions(
        rpc, commitment, (line for by_mint in lines for history in by_mint.values() for line in history)
    )
    verdicts: dict[int, PaymentVerdict] = {}
    for suspect, by_mint in zip(suspects, lines, strict=True):
        verdict = _judge(suspect.row, by_mint, read, around)
        if verdict is not None:
            verdicts[suspect.row.payment_id] = verdict
    return verdicts


def _accounts(suspect: _Suspect, around: Surroundings) -> list[tuple[str, str]]:
    """Give the token accounts that a payment may have gone to, with their mints: also those that are closed by now."""
    found = [(holding.mint, holding.address) for holding in suspect.chain.holdings]
    for price, _ in prices_due(suspect.row, around):
        if price.mint is not None:
            program = around.mints[price.mint].program
            found.append((price.mint, associated_address(suspect.row.address, price.mint, program)))
    return list(dict.fromkeys(found))


def _lines_by_mint(
    suspect: _Suspect,
    accounts: Sequence[tuple[str, str]],
    histories: Mapping[str, Sequence[SignatureInfo]],
    around: Surroundings,
) -> dict[str | None, list[SignatureInfo]]:
    """Give, for each mint that the payment has a price in, what happened to the wallet or to its accounts of the mint.

    The wallet's own history is part of each: it alone names the transfers that the wallet signed.
    """
    mints = dict.fromkeys(price.mint for price, _ in prices_due(suspect.row, around))
    return {
        mint: merge([suspect.own, *(histories[account] for of, account in accounts if of == mint)])
        for mint in mints
    }


def _judge(
    row: WalletRow,
    lines: Mapping[str | None, Sequence[SignatureInfo]],
    read: TransactionsRead,
    around: Surroundings,
) -> PaymentVerdict | None:
    """Judge a payment by what came in; None when nothing has left the wallet, as its balance tells then."""
    incomes = [_income(row, price, due, lines[price.mint], read) for price, due in prices_due(row, around)]
    verdicts = [(row.payment_id, income.verdict) for income in incomes if income.verdict is not None]
    best = best_of(verdicts).get(row.payment_id)
    # What the wallet signed is not the customer's. Such a transaction shows that money went, whoever sent it.
    left = any(income.left for income in incomes)
    # What could not be read may be what took the money out, so a balance is not trusted then either.
    if not left and not isinstance(best, Pending):
        return None
    amounts = tuple({income.mint: income.amount for income in incomes if income.amount}.items())
    if isinstance(best, Late):
        return Late(best.mint, best.amount, amounts)
    return best or (Underpaid(amounts) if amounts else None)


@dataclass(frozen=True, slots=True)
class _Income:
    """What came into a wallet of one price's mint.

    :param amount: minor units; 0 also when a transaction could not be read.
    :param left: whether the wallet itself has signed one of the transactions: something has left it.
    :param verdict: None when too little came for this price.
    """

    mint: str | None
    amount: int
    left: bool
    verdict: PaymentVerdict | None


def _income(
    row: WalletRow, price: Price, due: int, lines: Sequence[SignatureInfo], read: TransactionsRead
) -> _Income:
    theirs = [line for line in lines if not _signed(read[line.signature], row.address)]
    left = len(theirs) < len(lines)
    received = credits_in(theirs, read, row.address, price.mint)
    if received is None:
        return _Income(price.mint, 0, left, Pending())
    amount = sum(credit.amount for credit in received)
    late = Late(price.mint, amount) if amount >= due else None
    return _Income(price.mint, amount, left, completed(row, price, due, received) or late)


def _signed(details: Mapping[str, Any] | None, owner: str) -> bool:
    """Whether the wallet itself signed: then what came in by it is no customer's payment."""
    if details is None:
        return False
    keys = details["transaction"]["message"]["accountKeys"]
    return any(key["pubkey"] == owner and key["signer"] for key in keys)
