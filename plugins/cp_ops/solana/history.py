"""Who paid a wallet, when, and how much; and which transaction emptied it.

One call a wallet gives the signatures that mention it, with their times. Where the shape of that history leaves one
answer only, it is taken; everything else is read transaction by transaction. The shape: a wallet's token accounts are
opened by the fee payer, so the signatures that the fee payer's own history shares with the wallet's are its opening (and
sweeps); what is left is what customers did.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import Commitment
    from cp_ops.solana.rpc import Rpc, SignatureInfo
    from cp_ops.solana.wallets import Price, WalletOnChain, WalletRow

ACCOUNTS_PER_OPENING = 8
"""The payment module opens up to eight token accounts in a transaction (MAX_ATAS_PER_TX)."""
NEWEST = 25
"""How many of a wallet's newest transactions are read for the one that emptied it."""


@dataclass(frozen=True, slots=True)
class Paid:
    """The price was there in time: the transaction that completed it, and what had come in by the expiry."""

    token_id: int
    mint: str | None
    amount: int
    signature: str
    paid_at: datetime


@dataclass(frozen=True, slots=True)
class Late:
    """The price is there, but was not by the expiry."""

    mint: str | None
    amount: int


@dataclass(frozen=True, slots=True)
class Underpaid:
    """Money is there, but less than the price of any token."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The price is there, but the payment has not reached the acceptance commitment."""


@dataclass(frozen=True, slots=True)
class Unpaid:
    """Nothing is there."""


Verdict = Paid | Late | Underpaid | Pending | Unpaid


@dataclass(frozen=True, slots=True)
class Credit:
    """Minor units that a transaction brought."""

    signature: str
    at: datetime
    amount: int


@dataclass(frozen=True, slots=True)
class _Question:
    """Whether the balance of `account` covers a price that was paid in time."""

    row: WalletRow
    price: Price
    due: int
    account: str
    balance: int
    openings: int
    whole: bool
    """Whether `account` holds all of the balance: only then does its history alone tell."""


def judge_payments(
    rpc: Rpc,
    commitment: Commitment,
    wallets: Iterable[tuple[WalletRow, WalletOnChain]],
    around: Surroundings,
    *,
    fee_payer: str,
) -> dict[int, Verdict]:
    """Judge initiated payments by the chain, by payment id.

    :param commitment: the acceptance commitment: what has not reached it does not count yet.
    """
    verdicts: dict[int, Verdict] = {}
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
    for price in row.prices:
        mint = None if price.mint is None else around.mints.get(price.mint)
        if price.mint is not None and mint is None:
            continue
        due = price.minor_units(9 if mint is None else mint.decimals)
        balance = chain.balance(price.mint)
        if balance < due or due <= 0:
            continue
        accounts = [h for h in chain.holdings if h.mint == price.mint and h.amount] if mint else []
        account = accounts[0].address if accounts else row.address
        openings = -(-max(1, len(chain.holdings)) // ACCOUNTS_PER_OPENING)
        found.append(_Question(row, price, due, account, balance, openings, len(accounts) <= 1))
    return found


def _answer(
    rpc: Rpc, commitment: Commitment, questions: Sequence[_Question], fee_payer: str
) -> dict[int, Verdict]:
    histories = rpc.histories([question.account for question in questions], commitment)
    ours = {line.signature for line in rpc.histories([fee_payer], commitment)[0]}
    answers: list[tuple[_Question, Verdict]] = []
    unclear: list[tuple[_Question, list[SignatureInfo]]] = []
    for question, history in zip(questions, histories, strict=True):
        verdict = judge_by_shape(question, history, ours)
        if verdict is None:
            unclear.append((question, history))
        else:
            answers.append((question, verdict))
    wanted = list(
        dict.fromkeys(line.signature for _, history in unclear for line in history if not line.failed)
    )
    read = dict(zip(wanted, rpc.transactions(wanted, commitment), strict=True)) if wanted else {}
    for question, history in unclear:
        owner, mint = question.row.address, question.price.mint
        credits_ = [
            Credit(line.signature, _time(line), amount)
            for line in reversed(history)
            if (details := read.get(line.signature)) and (amount := change(details, owner, mint)) > 0
        ]
        answers.append((question, judge_by_credits(question, credits_)))
    return _best(answers)


def judge_by_shape(
    question: _Question, history: Sequence[SignatureInfo], ours: Iterable[str]
) -> Verdict | None:
    """Judge a payment by its account's signatures alone; None when they leave more than one answer. Pure.

    :param history: newest first.
    :param ours: signatures of transactions that the fee payer took part in.
    """
    good = [line for line in history if not line.failed]
    if not good:
        return Pending()
    known = set(ours)
    customers = [line for line in good if line.signature not in known]
    opening = [line for line in good if line.signature in known]
    if len(customers) != 1 or len(opening) > question.openings or not question.whole:
        return None
    payment = customers[0]
    if payment.block_time is None or any(line.slot > payment.slot for line in opening):
        return None
    if _time(payment) > question.row.expires_at:
        return Late(question.price.mint, question.balance)
    price = question.price
    return Paid(price.token_id, price.mint, question.balance, payment.signature, _time(payment))


def judge_by_credits(question: _Question, received: Sequence[Credit]) -> Verdict:
    """Judge a payment by what each transaction brought, oldest first: paid by the one that completed the price. Pure."""
    total = 0
    paid: Credit | None = None
    for credit in received:
        if credit.at > question.row.expires_at:
            break
        total += credit.amount
        if paid is None and total >= question.due:
            paid = credit
    if paid is None:
        seen = sum(credit.amount for credit in received)
        return Late(question.price.mint, question.balance) if seen >= question.due else Pending()
    return Paid(question.price.token_id, question.price.mint, total, paid.signature, paid.at)


def _best(answers: Iterable[tuple[_Question, Verdict]]) -> dict[int, Verdict]:
    """Of a payment's tokens take the one that was paid first; else the most that can be said."""
    order: dict[type, int] = {Paid: 0, Pending: 1, Late: 2}
    best: dict[int, Verdict] = {}
    for question, verdict in answers:
        known = best.get(question.row.payment_id)
        earlier = isinstance(verdict, Paid) and isinstance(known, Paid) and verdict.paid_at < known.paid_at
        if known is None or order[type(verdict)] < order[type(known)] or earlier:
            best[question.row.payment_id] = verdict
    return best


def change(details: Mapping[str, Any], owner: str, mint: str | None) -> int:
    """Give what a transaction brought an owner (negative: took), in minor units; in lamports when mint is None."""
    meta = details["meta"]
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


def find_transfers(
    rpc: Rpc, commitment: Commitment, rows: Sequence[WalletRow], around: Surroundings
) -> dict[int, str]:
    """Find, by wallet id, the newest transaction that moved money from an empty wallet to the receiver.

    Its signature is in the wallet's history and in that of the receiver (or of one of its token accounts). Where those
    histories do not reach back far enough, the wallet's newest transactions are read.
    """
    if not rows:
        return {}
    receivers = [around.receiver, *(address for address, open_ in around.receiver_accounts.values() if open_)]
    histories = rpc.histories([*receivers, *(row.address for row in rows)], commitment)
    received = {
        line.signature for history in histories[: len(receivers)] for line in history if not line.failed
    }
    found: dict[int, str] = {}
    unclear: list[tuple[WalletRow, list[str]]] = []
    for row, history in zip(rows, histories[len(receivers) :], strict=True):
        good = [line.signature for line in history if not line.failed]
        match = next((signature for signature in good if signature in received), None)
        if match is not None:
            found[row.wallet_id] = match
        elif len(good) > 1:
            unclear.append((row, good[:NEWEST]))
    wanted = list(dict.fromkeys(signature for _, good in unclear for signature in good))
    read = dict(zip(wanted, rpc.transactions(wanted, commitment), strict=True)) if wanted else {}
    for row, good in unclear:
        for signature in good:
            details = read.get(signature)
            if details and _moves_to(details, row.address, around):
                found[row.wallet_id] = signature
                break
    return found


def _moves_to(details: Mapping[str, Any], wallet: str, around: Surroundings) -> bool:
    return any(
        change(details, wallet, mint) < 0 and change(details, around.receiver, mint) > 0
        for mint in (None, *around.mints)
    )


def _time(line: SignatureInfo) -> datetime:
    return datetime.fromtimestamp(line.block_time or 0, UTC)
