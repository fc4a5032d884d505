"""Who paid a wallet, when, and how much.

One call a wallet gives the signatures that mention it, with their times. Where the shape of that history leaves one
answer only, that answer is taken. Everything else is read transaction by transaction.

The shape is what remains when our own signatures are taken out. The fee payer opens a wallet's token accounts and pays for
sweeps, so a signature that its history shares with the wallet's is an opening or a sweep. All others are customers'.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cp_ops.solana.verdicts import Late, Paid, Pending, Underpaid, Unpaid
from cp_ops.solana.wallets import SOL_DECIMALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import Commitment
    from cp_ops.solana.rpc import Rpc, SignatureInfo
    from cp_ops.solana.verdicts import PaymentVerdict
    from cp_ops.solana.wallets import Price, WalletOnChain, WalletRow

ACCOUNTS_PER_OPENING = 8
"""The payment module opens up to eight token accounts in a transaction (MAX_ATAS_PER_TX)."""


@dataclass(frozen=True, slots=True)
class Credit:
    """Minor units that a transaction brought."""

    signature: str
    at: datetime
    amount: int


@dataclass(frozen=True, slots=True)
class _Question:
    """Whether the balance of `accounts`, which covers a price, was paid in time."""

    row: WalletRow
    price: Price
    due: int
    accounts: tuple[str, ...]
    balance: int
    openings: int


def judge_payments(
    rpc: Rpc,
    commitment: Commitment,
    wallets: Iterable[tuple[WalletRow, WalletOnChain]],
    around: Surroundings,
    *,
    fee_payer: str,
) -> dict[int, PaymentVerdict]:
    """Judge initiated payments by the chain, by payment id.

    :param commitment: the acceptance commitment: what has not reached it does not count yet.
    """
    verdicts: dict[int, PaymentVerdict] = {}
    questions: list[_Question] = []
    for row, chain in wallets:
        asked = _questions(row, chain, around)
        questions += asked
        if not asked:
            verdicts[row.payment_id] = Underpaid() if chain.funded else Unpaid()
    if questions:
        verdicts |= _answer(rpc, commitment, questions, fee_payer)
    return verdicts


def _questions(row: WalletRow, chain: WalletOnChain, around: Surroundings) -> list[_Question]:
    found: list[_Question] = []
    # As many transactions of ours as opening its accounts can have taken: one more is no opening.
    openings = -(-max(1, len(chain.holdings)) // ACCOUNTS_PER_OPENING)
    for price, due in prices_due(row, around):
        balance = chain.balance(price.mint)
        if balance < due:
            continue
        # A token's history is that of the account which holds it. The wallet's own does not name transfers to that account.
        accounts = [row.address]
        if price.mint is not None:
            accounts = [h.address for h in chain.holdings if h.mint == price.mint and h.amount]
        found.append(_Question(row, price, due, tuple(accounts), balance, openings))
    return found


def prices_due(row: WalletRow, around: Surroundings) -> Iterator[tuple[Price, int]]:
    """Give the prices that can be paid, with their minor units."""
    for price in row.prices:
        mint = None if price.mint is None else around.mints.get(price.mint)
        if price.mint is not None and mint is None:
            continue
        due = price.minor_units(SOL_DECIMALS if mint is None else mint.decimals)
        if due > 0:
            yield price, due


def covers(row: WalletRow, chain: WalletOnChain, around: Surroundings) -> bool:
    """Whether a wallet holds the price of a token."""
    return any(chain.balance(price.mint) >= due for price, due in prices_due(row, around))


def _answer(
    rpc: Rpc, commitment: Commitment, questions: Sequence[_Question], fee_payer: str
) -> dict[int, PaymentVerdict]:
    accounts = list(dict.fromkeys(account for question in questions for account in question.accounts))
    read_histories = dict(zip(accounts, rpc.histories(accounts, commitment), strict=True))
    # Its newest thousand: an older opening counts as a customer's, which only means that the transactions are read.
    ours = {line.signature for line in rpc.histories([fee_payer], commitment)[0]}
    answers: list[tuple[int, PaymentVerdict]] = []
    unclear: list[tuple[_Question, list[SignatureInfo]]] = []
    for question in questions:
        history = merge(read_histories[account] for account in question.accounts)
        verdict = judge_by_shape(question, history, ours)
        if verdict is None:
            unclear.append((question, history))
        else:
            answers.append((question.row.payment_id, verdict))
    answers += _answer_by_transactions(rpc, commitment, unclear)
    return best_of(answers)


def _answer_by_transactions(
    rpc: Rpc, commitment: Commitment, unclear: Sequence[tuple[_Question, list[SignatureInfo]]]
) -> list[tuple[int, PaymentVerdict]]:
    """Read every transaction of the histories whose shape leaves more than one answer."""
    read = read_transactions(rpc, commitment, (line for _, history in unclear for line in history))
    answers: list[tuple[int, PaymentVerdict]] = []
    for question, history in unclear:
        received = credits_in(history, read, question.row.address, question.price.mint)
        # A transaction that cannot be read may be the one that paid in time, so the payment must not expire on it.
        judged = Pending() if received is None else judge_by_credits(question, received)
        answers.append((question.row.payment_id, judged))
    return answers


def merge(histories: Iterable[Sequence[SignatureInfo]]) -> list[SignatureInfo]:
    """Join histories of accounts, newest first: each transaction that did not fail, once."""
    # Sorting is stable: oldest first into it and turned round afterwards, transactions of one slot keep the node's order.
    lines = {line.signature: line for one in histories for line in reversed(one) if not line.failed}
    return sorted(lines.values(), key=lambda line: line.slot)[::-1]


def read_transactions(
    rpc: Rpc, commitment: Commitment, lines: Iterable[SignatureInfo]
) -> dict[str, dict[str, Any] | None]:
    """Read the transactions of histories, by signature; None for one that the node does not give."""
    wanted = list(dict.fromkeys(line.signature for line in lines))
    return dict(zip(wanted, rpc.transactions(wanted, commitment), strict=True)) if wanted else {}


def credits_in(
    history: Sequence[SignatureInfo],
    read: Mapping[str, Mapping[str, Any] | None],
    owner: str,
    mint: str | None,
) -> list[Credit] | None:
    """Give what came in, oldest first; None when a transaction or its time is unknown, as it may be the one that matters.

    :param history: newest first, without failed transactions.
    """
    found: list[Credit] = []
    for line in reversed(history):
        details = read.get(line.signature)
        # Leaving it out could turn a payment in time into a late one.
        if details is None or line.block_time is None:
            return None
        amount = change(details, owner, mint)
        if amount > 0:
            found.append(Credit(line.signature, _time(line), amount))
    return found


def judge_by_shape(
    question: _Question, history: Sequence[SignatureInfo], ours: Iterable[str]
) -> PaymentVerdict | None:
    """Judge a payment by its account's signatures alone; None when they leave more than one answer. Pure.

    :param history: newest first, without failed transactions.
    :param ours: signatures of transactions that the fee payer took part in.
    """
    # Money is there and no transaction that brought it: the node lags, or has pruned its history.
    if not history:
        return Pending()
    known = set(ours)
    customers = [line for line in history if line.signature not in known]
    opening = [line for line in history if line.signature in known]
    # Two customers' transactions may have completed the price in any order, and one too many of ours may be a sweep.
    if len(customers) != 1 or len(opening) > question.openings or len(question.accounts) > 1:
        return None
    payment = customers[0]
    # An opening after the payment may be a sweep, which leaves a balance that is not the customer's alone.
    if payment.block_time is None or any(line.slot > payment.slot for line in opening):
        return None
    if _time(payment) > question.row.expires_at:
        return Late(question.price.mint, question.balance)
    price = question.price
    return Paid(price.token_id, price.mint, question.balance, payment.signature, _time(payment))


def judge_by_credits(question: _Question, received: Sequence[Credit]) -> PaymentVerdict:
    """Judge a payment by what each transaction brought, oldest first. Pure."""
    paid = completed(question.row, question.price, question.due, received)
    if paid is not None:
        return paid
    seen = sum(credit.amount for credit in received)
    return Late(question.price.mint, question.balance) if seen >= question.due else Pending()


def completed(row: WalletRow, price: Price, due: int, received: Sequence[Credit]) -> Paid | None:
    """Say whether a price was paid by the expiry: by the transaction that completed it. Pure."""
    total = 0
    last: Credit | None = None
    for credit in received:
        # Counted up to the expiry only: what came later cannot complete a price in time, however much it is.
        if credit.at > row.expires_at:
            break
        total += credit.amount
        if last is None and total >= due:
            last = credit
    return None if last is None else Paid(price.token_id, price.mint, total, last.signature, last.at)


def best_of(answers: Iterable[tuple[int, PaymentVerdict]]) -> dict[int, PaymentVerdict]:
    """Of a payment's tokens take the one that was paid first; else the most that can be said. By payment id."""
    # "Pending" before "late": while one token's history is unknown, another's late payment must not let it expire.
    order: dict[type, int] = {Paid: 0, Pending: 1, Late: 2}
    best: dict[int, PaymentVerdict] = {}
    for payment_id, verdict in answers:
        known = best.get(payment_id)
        earlier = isinstance(verdict, Paid) and isinstance(known, Paid) and verdict.paid_at < known.paid_at
        if known is None or order[type(verdict)] < order[type(known)] or earlier:
            best[payment_id] = verdict
    return best


def change(details: Mapping[str, Any], owner: str, mint: str | None) -> int:
    """Give what a transaction brought an owner, in minor units, of SOL when mint is None. It is negative for what it took."""
    meta = details["meta"]
    # A failed transaction moves nothing. It only costs its fee, which the fee payer bears.
    if meta.get("err") is not None:
        return 0
    keys = [key["pubkey"] for key in details["transaction"]["message"]["accountKeys"]]
    if mint is None:
        if owner not in keys:
            return 0
        at = keys.index(owner)
        return int(meta["postBalances"][at]) - int(meta["preBalances"][at])

    def held(balances: Iterable[Mapping[str, Any]]) -> int:
        return sum(
            int(line["uiTokenAmount"]["amount"])
            for line in balances
            if line.get("owner") == owner and line["mint"] == mint
        )

    return held(meta.get("postTokenBalances") or ()) - held(meta.get("preTokenBalances") or ())


def _time(line: SignatureInfo) -> datetime:
    return datetime.fromtimestamp(line.block_time or 0, UTC)
