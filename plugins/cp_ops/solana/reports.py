"""Put the findings about wallets into the ledger: one for all four commands, so that each finds a thing once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cp_ops.runtime.audit import Category
from cp_ops.runtime.findings import Finding, ledger
from cp_ops.solana.findings import Arrival, Condition, of_wallet
from cp_ops.solana.keys import KeyProblem, KeyUnusableError
from cp_ops.solana.rpc import TransactionRejectedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.wallets import WalletRow

LEDGER = "solana_payments"
"""Whose findings these are: one name for the four commands, so that each finds a thing once."""
ARRIVALS = tuple(Arrival)
CONDITIONS = tuple(Condition)
OF_KEYS = {
    KeyProblem.UNDECRYPTABLE: Condition.KEY_UNDECRYPTABLE,
    KeyProblem.MISMATCH: Condition.KEY_MISMATCH,
}


def report_arrivals(run: JobRun, tx: Transaction, findings: Sequence[Finding]) -> None:
    """Open the findings about money that came, in the transaction that lets its payment expire."""
    found = [one for one in findings if one.kind in ARRIVALS]
    if found:
        _settle(run, tx, found, ARRIVALS, [one.subject for one in found])


def report_conditions(
    run: JobRun,
    rows: Sequence[WalletRow],
    findings: Sequence[Finding],
    problems: Sequence[tuple[WalletRow, Exception]],
) -> None:
    """Open the findings about these wallets as they stand, and resolve what they show no more.

    :param rows: the wallets that the run has examined; a finding about another wallet stays as it is.
    """
    found = [one for one in findings if one.kind in CONDITIONS]
    found += [one for row, error in problems if (one := _problem(row, error)) is not None]
    wallets = {row.target for row in rows}
    with run.read() as tx:
        known = tx.rows("open_wallet_findings", ledger=LEDGER, kinds=list(CONDITIONS))
    # Only what was examined can be resolved. Without this, a run over few wallets would resolve the findings of all others.
    open_before = [row["subject"] for row in known if _wallet_of(row["subject"]) in wallets]
    subjects = [*open_before, *(one.subject for one in found)]
    if subjects:
        with run.write() as tx:
            _settle(run, tx, found, CONDITIONS, subjects)


def _settle(
    run: JobRun, tx: Transaction, found: Sequence[Finding], kinds: Sequence[str], subjects: Sequence[str]
) -> None:
    """Settle findings; only those of `subjects` can be resolved by it."""
    with ledger(tx, LEDGER, run.run_id) as settled:
        settled.saw(found)
        run.count_findings(
            settled.settle(
                kinds=kinds, firm_ids=[], category=Category.BILLING_METADATA, subjects=list(subjects)
            )
        )


def _wallet_of(subject: str) -> str:
    """Give the wallet's name in a finding's subject, which may go on with one of its token accounts."""
    return ":".join(subject.split(":")[:2])


def _problem(row: WalletRow, error: Exception) -> Finding | None:
    """Report why a wallet was not moved; None when the next run may well move it."""
    if isinstance(error, KeyUnusableError):
        condition = OF_KEYS[error.problem]
    elif isinstance(error, TransactionRejectedError):
        condition = Condition.TRANSFER_REJECTED
    else:
        return None
    return of_wallet(row, condition, address=row.address, reason=str(error)[:300])
