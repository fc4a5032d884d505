"""What is due for each wallet, from its rows and the chain together. Pure: no call, no clock, no chance.

The money is other people's, so whatever is in doubt is left where it is: a wallet in an undecided transaction, two
readings that differ, a payment that the chain's own clock could still bring in time. Each such wallet is a `Skip` with
its reason, and the next run decides anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cp_ops.runtime.findings import Finding
from cp_ops.runtime.plan import Action, Plan, Skip
from cp_ops.solana.actions import (
    ACCEPT,
    EXPIRE,
    AcceptPayment,
    ExpirePayment,
    MarkWallet,
    MoveFunds,
    WalletPlan,
)
from cp_ops.solana.findings import Arrival, Condition, of_arrival, of_wallet
from cp_ops.solana.history import covers
from cp_ops.solana.moves import Move
from cp_ops.solana.obstacles import obstacles
from cp_ops.solana.verdicts import Late, Paid, Pending, Underpaid, Unpaid
from cp_ops.solana.wallets import PaymentStatus, WalletState, money_key, symbol_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from cp_ops.solana.cases import Case
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.obstacles import Obstacle
    from cp_ops.solana.wallets import WalletRow

LONG_FINAL = timedelta(hours=1)
"""By then every payment made in time is final. If the history still does not show it, the node has lost that history."""
MARKS = {WalletState.SENT: "mark_sent_funds", WalletState.CLOSED: "mark_payment_expired_and_wallet_closed"}
"""The action's kind where nothing is moved, and only the row is behind the chain."""


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


def plan_wallets(cases: Iterable[Case], terms: Terms) -> WalletPlan:
    """Decide on every wallet."""
    findings: list[Finding] = []
    items: list[Action | Skip] = []
    for case in cases:
        for item in _decide(case, terms):
            if isinstance(item, Finding):
                findings.append(item)
            else:
                items.append(item)
    return WalletPlan(Plan.of(items), findings)


def _decide(case: Case, terms: Terms) -> Iterator[Action | Skip | Finding]:
    row = case.row
    if row.in_flight:
        # Its transaction may still land. A second one would be signed on a balance that is no longer there.
        yield Skip(row.target, "under way: a transaction that the chain has not decided yet")
    elif row.status == PaymentStatus.INITIATED:
        yield from _initiated(case, terms)
    elif not terms.moves:
        yield Skip(row.target, f"payment is {row.status} already")
    elif case.hold:
        yield Skip(row.target, case.hold)
    elif row.status == PaymentStatus.EXPIRED:
        yield from _empty(case, terms, WalletState.CLOSED)
    else:
        yield from _empty(case, terms, WalletState.SENT)


def _initiated(case: Case, terms: Terms) -> Iterator[Action | Skip | Finding]:
    row, verdict = case.row, case.verdict
    if isinstance(verdict, Paid):
        yield _accept(row, verdict)
        # A hold keeps the money where it is. What the chain shows as paid in time stays paid, so it is accepted anyway.
        if case.hold:
            yield Skip(row.target, case.hold)
        elif terms.moves:
            accepted = replace(case, row=replace(row, state=WalletState.PROCESSING_FUNDS))
            yield from _empty(accepted, terms, WalletState.SENT)
    elif isinstance(verdict, Pending):
        if not verdict.awaited and row.expires_at < terms.now - LONG_FINAL:
            yield of_wallet(row, Condition.HISTORY_MISSING, address=row.address)
        yield Skip(row.target, "paid, but not at the acceptance commitment yet")
    elif reason := _not_to_expire(case, terms):
        yield Skip(row.target, reason)
    else:
        yield Action(
            EXPIRE,
            f"solana_payment:{row.payment_id}",
            f"not paid by {row.expires_at:%Y-%m-%d %H:%M:%S} UTC",
            data=ExpirePayment(row),
        )
        expired = replace(case, row=replace(row, state=WalletState.EXPIRED))
        yield from _empty(expired, terms, WalletState.CLOSED)


def _not_to_expire(case: Case, terms: Terms) -> str:
    """Say why an unpaid payment must not expire in this run; '' when it must."""
    row = case.row
    if row.expires_at > terms.now:
        return "not paid yet" if isinstance(case.verdict, Unpaid) else "paid in part, not expired yet"
    if not terms.moves:
        return "expired and not paid: close_expired_solana_payments_with_wallets closes it"
    # Our clock alone proves nothing: a node that lags behind shows no payment that was made in the last minutes.
    if not terms.run_out(row):
        return "expired, but the node's newest block is older than that: it may still be paid"
    return case.hold


def _accept(row: WalletRow, paid: Paid) -> Action:
    return Action(
        ACCEPT,
        f"solana_payment:{row.payment_id}",
        f"{paid.amount} of {symbol_of(paid.mint)} came in by {paid.paid_at:%Y-%m-%d %H:%M:%S} UTC",
        data=AcceptPayment(row, paid),
    )


def _empty(case: Case, terms: Terms, target: WalletState) -> Iterator[Action | Skip | Finding]:
    """Move everything out, close the accounts, and give the wallet its last state."""
    row, emptied_by = case.row, case.transfer or case.row.moved_by
    stuck = list(obstacles(row, case.chain, terms.around))
    yield from (obstacle.finding(row) for obstacle in stuck)
    arrival = _arrival(case, target, terms.around)
    if arrival is not None:
        yield arrival
    blocked: set[str] = {obstacle.condition for obstacle in stuck}
    if target is WalletState.SENT and _has_lost_its_money(case, emptied_by):
        yield of_wallet(row, Condition.NO_TRANSFER_FOUND, address=row.address)
        blocked.add(Condition.NO_TRANSFER_FOUND)
    # While something in the wallet cannot be moved it is not empty, and a last state would hide that from later runs.
    final = None if blocked or row.state == target else str(target)
    move = _move(case, stuck, final)
    if move.lamports or move.closes:
        yield _moving(move, terms)
    elif blocked:
        yield Skip(row.target, "; ".join(sorted(blocked)))
    elif row.state != target:
        reason = f"emptied by {emptied_by}" if target is WalletState.SENT else "nothing is left in it"
        yield Action(MARKS[target], row.target, reason, data=MarkWallet(row, target, emptied_by))
    else:
        yield Skip(row.target, "nothing is in it")


def _move(case: Case, stuck: Iterable[Obstacle], target: str | None) -> Move:
    """Take everything that no obstacle holds back."""
    chain = case.chain
    held_back = {obstacle.holding.address for obstacle in stuck if obstacle.holding is not None}
    free = tuple(holding for holding in chain.holdings if holding.address not in held_back)
    tokens = tuple(holding for holding in free if holding.amount)
    return Move(case.row, chain.lamports if chain.movable else 0, tokens, free, target)


def _moving(move: Move, terms: Terms) -> Action | Skip:
    # A token's worth in SOL is not known here, so tokens are moved however little SOL comes with them.
    if not move.tokens and move.lamports + move.rent <= terms.fee:
        return Skip(move.row.target, f"worth less than the fee of moving it ({terms.fee} lamports)")
    return Action(move.kind, move.row.target, _reason(move), data=MoveFunds(move))


def _reason(move: Move) -> str:
    parts = [f"{move.lamports} lamports"] if move.lamports else []
    parts += [f"{amount} of {mint}" for mint, amount in move.amounts().items()]
    if move.closes:
        parts.append(f"{len(move.closes)} token accounts with {move.rent} lamports of rent")
    return ", ".join(parts)


def _has_lost_its_money(case: Case, emptied_by: str | None) -> bool:
    """Whether an accepted payment's wallet is empty, and no transaction is known that brought its money to us.

    A key that leaked looks like this, so it is never marked as sent on the strength of an empty balance.
    """
    return not case.chain.funded and emptied_by is None and case.row.state != WalletState.SENT


def _arrival(case: Case, target: WalletState, around: Surroundings) -> Finding | None:
    """Report money that came too late, too little, or after the wallet was emptied."""
    # On the way to its first sweep an accepted payment's wallet holds the payment itself: that is no news.
    if target is WalletState.SENT and case.row.state != WalletState.SENT:
        return None
    received = case.verdict.received if isinstance(case.verdict, Late | Underpaid) else ()
    amounts = case.chain.money() | {money_key(mint): amount for mint, amount in received}
    return arrived(case, target, around, amounts) if amounts else None


def arrived(case: Case, target: WalletState, around: Surroundings, amounts: Mapping[str, int]) -> Finding:
    """Report these amounts as come into a wallet that gets, or has got, this last state."""
    if target is WalletState.SENT:
        kind = Arrival.AFTER_SENT
    elif isinstance(case.verdict, Late) or covers(case.row, case.chain, around):
        kind = Arrival.LATE
    else:
        kind = Arrival.UNDERPAID
    return of_arrival(case.row, kind, amounts)
