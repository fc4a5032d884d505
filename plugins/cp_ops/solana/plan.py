"""What is due for each wallet, from its rows and the chain together. Pure: no call, no clock, no chance."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import CapExceededError
from cp_ops.runtime.plan import Action, Plan, Skip
from cp_ops.solana.accounting import SOL
from cp_ops.solana.history import Paid, Pending, Unpaid
from cp_ops.solana.reports import arrival, no_history, no_transfer, stuck_in
from cp_ops.solana.wallets import State, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from cp_ops.runtime.findings import Finding
    from cp_ops.solana.accounts import Holding
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.reports import Case
    from cp_ops.solana.wallets import WalletRow


LONG_FINAL = timedelta(hours=1)
"""A payment in time is final by then, whatever the commitment: where no history shows it, the node does not keep it."""


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

    def run_out(self, row: WalletRow) -> bool:
        """Whether a payment's time is over on the chain too: no later block can pay it in time."""
        expiry = row.expires_at
        return expiry <= self.now and self.chain_time is not None and self.chain_time > expiry.timestamp()


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
        for setting, amount, limit, unit in above_caps(
            money_of(self.moves), max_lamports, max_tokens, around
        ):
            raise CapExceededError(
                f"the plan sweeps {amount} {unit}, more than [cp_ops] {setting}={limit} allows; nothing was "
                f"done. Look at a dry run; if it is right, raise {setting} or run with a smaller limit"
            )


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
        whole = -(-amount // 10 ** around.mints[mint].decimals)
        if whole > max_tokens:
            yield "solana_max_sweep_tokens", whole, max_tokens, f"units of {mint}"


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
    elif case.hold:
        yield Skip(row.target, case.hold)
    elif row.status == Status.EXPIRED:
        yield from _empty(case, terms, result, State.CLOSED)
    else:
        yield from _empty(case, terms, result, State.SENT)


def _initiated(case: Case, terms: Terms, result: WalletPlan) -> Iterator[Action | Skip]:
    row, verdict = case.row, case.verdict
    if isinstance(verdict, Paid):
        yield _accept(row, verdict, result)
        if case.hold:
            yield Skip(row.target, case.hold)
        elif terms.moves:
            accepted = replace(case, row=replace(row, state=State.PROCESSING_FUNDS))
            yield from _empty(accepted, terms, result, State.SENT)
    elif isinstance(verdict, Pending):
        if not verdict.awaited and row.expires_at < terms.now - LONG_FINAL:
            result.findings.append(no_history(row))
        yield Skip(row.target, "paid, but not at the acceptance commitment yet")
    elif row.expires_at > terms.now:
        yield Skip(
            row.target, "not paid yet" if isinstance(verdict, Unpaid) else "paid in part, not expired yet"
        )
    elif not terms.moves:
        yield Skip(row.target, "expired and not paid: close_expired_solana_payments_with_wallets closes it")
    elif not terms.run_out(row):
        yield Skip(
            row.target, "expired, but the node's newest block is older than that: it may still be paid"
        )
    elif case.hold:
        yield Skip(row.target, case.hold)
    else:
        result.expires.append(row)
        yield Action(
            "expire",
            f"solana_payment:{row.payment_id}",
            f"not paid by {row.expires_at:%Y-%m-%d %H:%M:%S} UTC",
        )
        expired = replace(case, row=replace(row, state=State.EXPIRED))
        yield from _empty(expired, terms, result, State.CLOSED)


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
    stuck = list(stuck_in(case, terms.around))
    result.findings += stuck
    held_back = {finding.details.get("account") for finding in stuck}
    tokens = tuple(h for h in chain.holdings if h.amount and h.address not in held_back)
    closes = tuple(h for h in chain.holdings if h.address not in held_back)
    lamports = chain.lamports if chain.movable else 0
    arrived = arrival(case, target, terms.around)
    if arrived is not None:
        result.findings.append(arrived)
    emptied = case.transfer or row.moved_by
    if target is State.SENT and not chain.funded and emptied is None and row.state != State.SENT:
        result.findings.append(no_transfer(row))
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
