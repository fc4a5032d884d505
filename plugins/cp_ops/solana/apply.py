"""What a wallets' plan does to the application's rows: accept, expire, and give emptied wallets their last state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cp_ops.solana.actions import ACCEPT, EXPIRE
from cp_ops.solana.plan import MARKS
from cp_ops.solana.reports import report_arrivals
from cp_ops.solana.wallets import PaymentStatus, WalletState

if TYPE_CHECKING:
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.actions import AcceptPayment, WalletPlan
    from cp_ops.solana.sweeping import Swept
    from cp_ops.solana.wallets import WalletRow

BATCH = 500
CHANGED_MEANWHILE = "changed meanwhile"


def apply_to_rows(run: JobRun, made: WalletPlan, status: str) -> dict[int, WalletRow]:
    """Accept and expire payments; give, by wallet id, the rows as they are now, without those left alone.

    All in one transaction, so that a payment, its wallet, its event and its finding are never told apart by a crash.

    :param status: what an accepted payment's status becomes.
    """
    rows = {row.wallet_id: row for row in (move.row for move in made.moves)}
    rows |= {mark.row.wallet_id: mark.row for mark in made.marks}
    with run.write() as tx:
        accepted = _accept(run, tx, made.accepts, status)
        expired = _expire(run, tx, made.expires)
        report_arrivals(run, tx, made.findings)
    run.done(ACCEPT, len(accepted))
    run.done(EXPIRE, len(expired))
    left_alone = len(made.accepts) + len(made.expires) - len(accepted) - len(expired)
    run.skip(CHANGED_MEANWHILE, left_alone)
    for accept in made.accepts:
        done = accept.row.payment_id in accepted
        _renew(rows, accept.row, status, WalletState.PROCESSING_FUNDS, done=done)
    for row in made.expires:
        _renew(rows, row, PaymentStatus.EXPIRED, WalletState.EXPIRED, done=row.payment_id in expired)
    return rows


def _accept(run: JobRun, tx: Transaction, accepts: list[AcceptPayment], status: str) -> set[int]:
    """Accept payments; give the ids of those that nobody else has changed or holds."""
    accepted: set[int] = set()
    for start in range(0, len(accepts), BATCH):
        part = accepts[start : start + BATCH]
        answer = tx.rows(
            "accept_payments",
            payment_ids=[one.row.payment_id for one in part],
            signatures=[one.paid.signature for one in part],
            token_ids=[one.paid.token_id for one in part],
            mints=[one.paid.mint for one in part],
            amounts=[one.paid.amount for one in part],
            status=status,
            now=run.now,
            run_id=run.run_id,
        )
        accepted |= {row["payment_id"] for row in answer}
    return accepted


def _expire(run: JobRun, tx: Transaction, expires: list[WalletRow]) -> set[int]:
    """Let payments expire; give the ids of those that nobody else has changed or holds."""
    ids = [row.payment_id for row in expires]
    expired: set[int] = set()
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        answer = tx.rows("expire_payments", payment_ids=part, now=run.now, run_id=run.run_id)
        expired |= {row["payment_id"] for row in answer}
    return expired


def _renew(
    rows: dict[int, WalletRow], row: WalletRow, status: str, state: WalletState, *, done: bool
) -> None:
    """Bring a row up to date, or drop it: what somebody else has changed is not what was planned, and is not moved."""
    if not done:
        rows.pop(row.wallet_id, None)
    elif row.wallet_id in rows:
        rows[row.wallet_id] = replace(row, status=status, state=str(state))


@dataclass(frozen=True, slots=True)
class _Settlement:
    """A wallet that gets its last state.

    :param swept: whether this run brought money from it to the receiver.
    :param kind: the action of the plan that is done with it.
    """

    row: WalletRow
    target: str
    swept: bool
    kind: str


def settle_wallets(
    run: JobRun, made: WalletPlan, rows: dict[int, WalletRow], swept: Swept | None, *, receiver: str
) -> None:
    """Give the wallets that are empty now their last state, in one statement.

    :param rows: what `apply_to_rows` gave.
    :param swept: how moving went; None when nothing was to be moved.
    """
    settlements = _of_moves(run, made, swept) if swept else []
    settlements += [
        _Settlement(rows[mark.row.wallet_id], mark.target, swept=False, kind=MARKS[mark.target])
        for mark in made.marks
        if mark.row.wallet_id in rows
    ]
    if not settlements:
        return
    with run.write() as tx:
        answer = tx.rows(
            "settle_wallets",
            wallet_ids=[one.row.wallet_id for one in settlements],
            states=[one.row.state for one in settlements],
            statuses=[one.row.status for one in settlements],
            targets=[one.target for one in settlements],
            swept=[one.swept for one in settlements],
            receiver=receiver,
            now=run.now,
        )
    # Done is what the chain shows and the row says. A row that somebody else has changed is left to the next run.
    changed = {row["wallet_id"] for row in answer}
    for one in settlements:
        if one.row.wallet_id in changed:
            run.done(one.kind, 1)
    run.skip(CHANGED_MEANWHILE, len(settlements) - len(changed))


def _of_moves(run: JobRun, made: WalletPlan, swept: Swept) -> list[_Settlement]:
    """Settle the wallets whose last look showed nothing left; those that keep their state are counted at once.

    The plan's own move gives kind and target. A later move of the same wallet, after money came in meanwhile, was planned
    to empty it and not to decide its state anew.
    """
    planned = {move.row.wallet_id: move for move in made.moves}
    gave = {move.row.wallet_id for move in (*swept.done, *swept.more) if move.brings_money}
    settlements: list[_Settlement] = []
    for move in {move.row.wallet_id: move for move in swept.done}.values():
        first = planned[move.row.wallet_id]
        if first.target is None:
            run.done(first.kind, 1)
        else:
            settlements.append(_Settlement(move.row, first.target, move.row.wallet_id in gave, first.kind))
    return settlements
