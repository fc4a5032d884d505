"""What a person should know of wallets: money that came when or as it should not, and what cannot be moved."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.audit import Category
from cp_ops.runtime.findings import Finding, Severity, ledger
from cp_ops.solana.accounting import SOL
from cp_ops.solana.history import Late, Underpaid, covers
from cp_ops.solana.keys import KeyUnusableError
from cp_ops.solana.rpc import TransactionRejectedError
from cp_ops.solana.wallets import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.history import Verdict
    from cp_ops.solana.wallets import WalletOnChain, WalletRow

LEDGER = "solana_payments"
"""Whose findings these are: one name for the four commands, so that each finds a thing once."""
ARRIVALS = ("late_payment", "underpaid", "funds_after_sent")
"""Kinds of finding about money that came when or as it should not: a person decides, so they are never resolved here."""
CONDITIONS = (
    "frozen_account",
    "unlisted_mint",
    "mint_not_found",
    "foreign_close_authority",
    "not_a_plain_account",
    "no_transfer_found",
    "history_missing",
    "key_undecryptable",
    "key_mismatch",
    "transfer_rejected",
)
"""Kinds of finding about a wallet as it stands: resolved by the run that finds it otherwise."""


@dataclass(frozen=True, slots=True)
class Case:
    """A wallet to decide on.

    :param verdict: for an initiated payment, what the chain says of it.
    :param transfer: for an accepted payment's empty wallet, the transaction that emptied it, when one is known.
    :param hold: why nothing may be moved and nothing expire in this run, such as two readings that differ.
    """

    row: WalletRow
    chain: WalletOnChain
    verdict: Verdict | None = None
    transfer: str | None = None
    hold: str = ""


def stuck_in(case: Case, around: Surroundings) -> Iterator[Finding]:
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


def no_transfer(row: WalletRow) -> Finding:
    """Report an accepted payment whose wallet is empty, with no transfer to the receiver on the chain."""
    return Finding(
        "no_transfer_found",
        row.target,
        Severity.CRITICAL,
        "The payment is accepted, the wallet is empty, and no transfer to the receiver is on the chain: look at its history",
        details={"payment": row.payment_id, "address": row.address},
    )


def no_history(row: WalletRow) -> Finding:
    """Report a wallet with money whose payment the node's history does not show."""
    return Finding(
        "history_missing",
        row.target,
        Severity.WARNING,
        "The node does not show who paid this wallet: use one that keeps the whole history",
        details={"payment": row.payment_id, "address": row.address},
    )


def arrival(case: Case, target: State, around: Surroundings) -> Finding | None:
    """Report money that came too late, too little, or after the wallet was emptied."""
    received = case.verdict.received if isinstance(case.verdict, Late | Underpaid) else ()
    if target is State.SENT and case.row.state != State.SENT:
        return None
    amounts = money_in(case.chain) | {mint or SOL: amount for mint, amount in received}
    return arrived(case, target, around, amounts) if amounts else None


def money_in(chain: WalletOnChain) -> Counter[str]:
    """Give a wallet's money without rent: lamports, and minor units by mint."""
    found = Counter({SOL: chain.lamports} if chain.lamports else {})
    for holding in chain.holdings:
        if holding.amount:
            found[holding.mint] += holding.amount
    return found


def arrived(case: Case, target: State, around: Surroundings, amounts: Mapping[str, int]) -> Finding:
    """Report these amounts as come into a wallet that gets, or has got, this last state."""
    row = case.row
    covered = isinstance(case.verdict, Late) or covers(row, case.chain, around)
    kind = "funds_after_sent" if target is State.SENT else "late_payment" if covered else "underpaid"
    subject = f"solana_payment:{row.payment_id}"
    return Finding(
        kind,
        f"{subject}:{row.moves + 1}" if row.moves else subject,
        Severity.WARNING,
        "The money goes to the receiver; refund it or deliver, as your terms say",
        details={
            "amounts": {mint: str(amount) for mint, amount in sorted(amounts.items())},
            "address": row.address,
            "due": _due(row),
            "expired_at": row.expires_at.isoformat(),
        },
    )


def _due(row: WalletRow) -> dict[str, str]:
    return {price.mint or "SOL": format(price.amount.normalize(), "f") for price in row.prices}


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
    """Open the findings about these wallets as they stand, and resolve what they show no more."""
    found = [*findings, *(_problem(row, error) for row, error in problems)]
    found = [one for one in found if one.kind in CONDITIONS]
    wallets = {row.target for row in rows}
    with run.read() as tx:
        known = tx.rows("open_wallet_findings", ledger=LEDGER, kinds=list(CONDITIONS))
    open_before = [row["subject"] for row in known if ":".join(row["subject"].split(":")[:2]) in wallets]
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


def _problem(row: WalletRow, error: Exception) -> Finding:
    kind, advice = "not_moved", ""
    if isinstance(error, KeyUnusableError):
        kind, advice = error.kind, "Add the key that the wallet was encrypted under to wallet_encryption_keys"
        if kind == "key_mismatch":
            advice = "The wallet's funds can be moved only by the key of its address: look for it in a backup"
    elif isinstance(error, TransactionRejectedError):
        kind, advice = (
            "transfer_rejected",
            "Look at the wallet's token accounts: the chain refuses to move them",
        )
    return Finding(
        kind,
        row.target,
        Severity.CRITICAL if kind.startswith("key_") else Severity.WARNING,
        advice,
        details={"payment": row.payment_id, "address": row.address, "reason": str(error)[:300]},
    )
