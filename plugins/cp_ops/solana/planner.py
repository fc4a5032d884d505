"""What is due for each wallet, from its rows and the chain together. Pure: no call, no clock, no chance."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.errors import CapExceededError
from cp_ops.runtime.findings import Finding, Severity
from cp_ops.runtime.plan import Action, Plan, Skip
from cp_ops.solana.history import Late, Paid, Pending, Unpaid
from cp_ops.solana.wallets import State, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from cp_ops.solana.accounts import Holding
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.history import Verdict
    from cp_ops.solana.wallets import WalletOnChain, WalletRow

ARRIVALS = ("late_payment", "underpaid", "funds_after_sent")
"""Kinds of finding about money that came when or as it should not: a person decides, so they are never resolved here."""
CONDITIONS = ("frozen_account", "unlisted_mint", "mint_not_found", "foreign_close_authority", "not_a_plain_account",
              "no_transfer_found", "key_undecryptable", "key_mismatch", "transfer_rejected")  # fmt: skip
"""Kinds of finding about a wallet as it stands: resolved by the run that finds it otherwise."""


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
    def kind(self) -> str:
        """``sweep`` when money moves, ``close`` when only rent comes back."""
        return "sweep" if self.lamports or self.tokens else "close"

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


@dataclass(frozen=True, slots=True)
class Case:
    """A wallet to decide on.

    :param verdict: for an initiated payment, what the chain says of it.
    :param transfer: for an accepted payment's empty wallet, the transaction that emptied it, when one is known.
    """

    row: WalletRow
    chain: WalletOnChain
    verdict: Verdict | None = None
    transfer: str | None = None


@dataclass(frozen=True)
class Terms:
    """What a run decides by.

    :param now: the run's instant.
    :param chain_time: the newest block's time in seconds since 1970: a payment is unpaid only up to there.
    :param fee: lamports that moving one wallet costs.
    :param moves: whether this command moves funds and lets payments expire, or only accepts.
    """

    now: datetime
    chain_time: int | None
    around: Surroundings
    fee: int = 5_000
    moves: bool = True


@dataclass
class WalletPlan:
    """A run's plan in the runtime's form, and what applying it needs."""

    plan: Plan
    accepts: list[tuple[WalletRow, Paid]] = field(default_factory=list)
    expires: list[WalletRow] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    marks: list[tuple[WalletRow, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def require_within(self, max_lamports: int, max_tokens: int, around: Surroundings) -> None:
        """Refuse a plan that sweeps more than the caps allow.

        :param max_lamports: setting solana_max_sweep_lamports.
        :param max_tokens: setting solana_max_sweep_tokens: whole units, of each mint.
        :raises CapExceededError: before anything was done.
        """
        lamports = sum(move.lamports for move in self.moves)
        _require("solana_max_sweep_lamports", lamports, max_lamports, "lamports")
        totals: Counter[str] = Counter()
        for move in self.moves:
            totals.update(move.amounts())
        for mint, amount in totals.items():
            whole = -(-amount // 10 ** around.mints[mint].decimals)
            _require("solana_max_sweep_tokens", whole, max_tokens, f"units of {mint}")


def _require(setting: str, amount: int, limit: int, unit: str) -> None:
    if amount > limit:
        raise CapExceededError(
            f"the plan sweeps {amount} {unit}, more than [cp_ops] {setting}={limit} allows; nothing was done. "
            f"Look at a dry run; if it is right, raise {setting} or run with a smaller limit"
        )


def plan_wallets(cases: Iterable[Case], terms: Terms) -> WalletPlan:
    """Decide on every wallet."""
    result = WalletPlan(Plan())
    items = [item for case in cases for item in _decide(case, terms, result)]
    result.plan = Plan.of(items)
    return result


def _decide(case: Case, terms: Terms, result: WalletPlan) -> Iterator[Action | Skip]:
    row = case.row
    if row.in_flight:
        yield Skip(row.target, "under way: a transaction that the chain has not decided yet")
    elif row.status == Status.INITIATED:
        yield from _initiated(case, terms, result)
    elif not terms.moves:
        yield Skip(row.target, f"payment is {row.status} already")
    elif row.status == Status.EXPIRED:
        yield from _empty(case, terms, result, State.CLOSED)
    else:
        yield from _empty(case, terms, result, State.SENT)


def _initiated(case: Case, terms: Terms, result: WalletPlan) -> Iterator[Action | Skip]:
    row, verdict = case.row, case.verdict
    if isinstance(verdict, Paid):
        yield _accept(row, verdict, result)
        if terms.moves:
            yield from _empty(case, terms, result, State.SENT)
    elif isinstance(verdict, Pending):
        yield Skip(row.target, "paid, but not at the acceptance commitment yet")
    elif row.expires_at > terms.now:
        yield Skip(
            row.target, "not paid yet" if isinstance(verdict, Unpaid) else "paid in part, not expired yet"
        )
    elif not terms.moves:
        yield Skip(row.target, "expired and not paid: close_expired_solana_payments_with_wallets closes it")
    elif terms.chain_time is None or terms.chain_time <= row.expires_at.timestamp():
        yield Skip(
            row.target, "expired, but the node's newest block is older than that: it may still be paid"
        )
    else:
        result.expires.append(row)
        yield Action(
            "expire",
            f"solana_payment:{row.payment_id}",
            f"not paid by {row.expires_at:%Y-%m-%d %H:%M:%S} UTC",
        )
        yield from _empty(case, terms, result, State.CLOSED)


def _accept(row: WalletRow, paid: Paid, result: WalletPlan) -> Action:
    result.accepts.append((row, paid))
    return Action(
        "accept",
        f"solana_payment:{row.payment_id}",
        f"{paid.amount} of {paid.mint or 'SOL'} came in by {paid.paid_at:%Y-%m-%d %H:%M:%S} UTC",
        data={"signature": paid.signature, "token": paid.token_id},
    )


def _empty(case: Case, terms: Terms, result: WalletPlan, target: State) -> Iterator[Action | Skip]:
    """Move everything out, close the accounts, and give the wallet its last state."""
    row, chain = case.row, case.chain
    stuck = list(_stuck(case, terms.around))
    result.findings += stuck
    held_back = {finding.details.get("account") for finding in stuck}
    tokens = tuple(h for h in chain.holdings if h.amount and h.address not in held_back)
    closes = tuple(h for h in chain.holdings if h.address not in held_back)
    lamports = chain.lamports if chain.movable else 0
    arrival = _arrival(case, target, terms.around)
    if arrival is not None:
        result.findings.append(arrival)
    emptied = case.transfer or row.moved_by
    if target is State.SENT and not chain.funded and emptied is None and row.state != State.SENT:
        result.findings.append(_no_transfer(row))
        stuck.append(result.findings[-1])
    move = Move(row, lamports, tokens, closes, _final(row, target, stuck))
    if lamports or closes:
        worth = lamports + move.rent
        if not tokens and worth <= terms.fee:
            yield Skip(row.target, f"worth less than the fee of moving it ({terms.fee} lamports)")
            return
        result.moves.append(move)
        yield Action(move.kind, row.target, _reason(move), data=_data(move))
    elif stuck:
        yield Skip(row.target, "; ".join(sorted({finding.kind for finding in stuck})))
    elif row.state != target:
        result.marks.append((row, target))
        reason = f"emptied by {emptied}" if target is State.SENT else "nothing is left in it"
        yield Action(f"mark_{target}", row.target, reason, data={"transfer": emptied})
    else:
        yield Skip(row.target, "nothing is in it")


def _final(row: WalletRow, target: State, stuck: list[Finding]) -> str | None:
    """Give the state that the wallet gets when it is empty: none while something in it cannot be moved."""
    return None if stuck or row.state == target else str(target)


def _stuck(case: Case, around: Surroundings) -> Iterator[Finding]:
    """Find what cannot be moved or closed, with the reason."""
    row, chain = case.row, case.chain
    if not chain.movable and chain.lamports:
        yield _condition(
            row, "not_a_plain_account", "Look at the wallet: its address is not a plain account", {}
        )
    for holding in chain.holdings:
        details = {"account": holding.address, "mint": holding.mint, "amount": holding.amount}
        if holding.frozen:
            yield _condition(
                row,
                "frozen_account",
                "Ask the mint's freeze authority; it is swept once it is thawed",
                details,
            )
        elif holding.close_authority not in (None, row.address):
            yield _condition(
                row,
                "foreign_close_authority",
                "Somebody else may close this account: move its tokens by hand",
                details,
            )
        elif not holding.amount:
            continue
        elif holding.mint in around.missing:
            yield _condition(row, "mint_not_found", "Correct the token's mint_address: no such mint", details)
        elif holding.mint not in around.mints:
            yield _condition(
                row,
                "unlisted_mint",
                "List the mint as a token if it is worth sweeping; ignore it if not",
                details,
            )


def _condition(row: WalletRow, kind: str, advice: str, details: Mapping[str, Any]) -> Finding:
    account = details.get("account")
    subject = f"{row.target}:{account}" if account else row.target
    severity = Severity.INFO if kind == "unlisted_mint" else Severity.WARNING
    return Finding(kind, subject, severity, advice, details={"payment": row.payment_id, **details})


def _no_transfer(row: WalletRow) -> Finding:
    return Finding(
        "no_transfer_found",
        row.target,
        Severity.CRITICAL,
        "The payment is accepted, the wallet is empty, and no transfer to the receiver is on the chain: look at its history",
        details={"payment": row.payment_id, "address": row.address},
    )


def _arrival(case: Case, target: State, around: Surroundings) -> Finding | None:
    """Report money that came too late, too little, or after the wallet was emptied."""
    row, chain = case.row, case.chain
    if not chain.funded or (target is State.SENT and row.state != State.SENT):
        return None
    kind = (
        "funds_after_sent"
        if target is State.SENT
        else "late_payment"
        if _covers(case, around)
        else "underpaid"
    )
    amounts = {h.mint: str(chain.balance(h.mint)) for h in chain.holdings if h.amount}
    if chain.lamports:
        amounts["lamports"] = str(chain.lamports)
    subject = f"solana_payment:{row.payment_id}"
    return Finding(
        kind,
        f"{subject}:{row.moves + 1}" if row.moves else subject,
        Severity.WARNING,
        "The money goes to the receiver; refund it or deliver, as your terms say",
        details={
            "amounts": amounts,
            "address": row.address,
            "due": _due(row),
            "expired_at": row.expires_at.isoformat(),
        },
    )


def _due(row: WalletRow) -> dict[str, str]:
    return {price.mint or "SOL": format(price.amount.normalize(), "f") for price in row.prices}


def _covers(case: Case, around: Surroundings) -> bool:
    if isinstance(case.verdict, Late):
        return True
    for price in case.row.prices:
        mint = around.mints.get(price.mint) if price.mint else None
        if price.mint and mint is None:
            continue
        if case.chain.balance(price.mint) >= price.minor_units(mint.decimals if mint else 9):
            return True
    return False


def _reason(move: Move) -> str:
    parts = [f"{move.lamports} lamports"] if move.lamports else []
    parts += [f"{amount} of {mint}" for mint, amount in move.amounts().items()]
    if move.closes:
        parts.append(f"{len(move.closes)} token accounts with {move.rent} lamports of rent")
    return ", ".join(parts)


def _data(move: Move) -> dict[str, str | int | None]:
    return {
        "lamports": move.lamports,
        "tokens": json.dumps(move.amounts(), sort_keys=True),
        "closes": len(move.closes),
        "target": move.target,
    }
