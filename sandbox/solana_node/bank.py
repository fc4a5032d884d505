"""Execution: runs and simulates transactions in LiteSVM and tells what they did, without keeping anything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solders.account import Account
from solders.clock import Clock
from solders.pubkey import Pubkey
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

from sandbox.solana_node.accounts import NO_ACCOUNT
from sandbox.solana_node.clock import SLOTS_PER_EPOCH, SlotClock
from sandbox.solana_node.records import Addresses, InvokedInstruction, TokenBalance
from sandbox.solana_node.token_layout import parse_holding, parse_mint

if TYPE_CHECKING:
    from solders.litesvm import LiteSVM
    from solders.transaction import VersionedTransaction

Snapshot = dict[Pubkey, Account | None]


@dataclass(frozen=True)
class Execution:
    """What running a transaction did. `err` has the RPC's shape; `before` and `after` follow the keys."""

    err: Any
    fee: int
    units: int
    logs: list[str]
    inner: tuple[tuple[InvokedInstruction, ...], ...]
    before: Snapshot
    after: Snapshot

    @property
    def in_block(self) -> bool:
        """Whether a block would hold it: it succeeded, or failed after its fee was charged."""
        payer = next(iter(self.before))
        return self.err is None or lamports(self.before[payer]) != lamports(self.after[payer])


@dataclass(frozen=True)
class Simulation:
    """The outcome of a simulation. `err` has the RPC's shape."""

    err: Any
    logs: list[str]
    units: int
    fee: int = 0
    inner: tuple[tuple[InvokedInstruction, ...], ...] = ()
    accounts: dict[Pubkey, Account] | None = None
    return_data: tuple[Pubkey, bytes] | None = None


class Bank:
    """LiteSVM with its clock kept in step with the node's."""

    def __init__(self, svm: LiteSVM, clock: SlotClock) -> None:
        self._svm = svm
        self._clock = clock
        self._slot = -1

    def execute(
        self, transaction: VersionedTransaction, addresses: Addresses, forced_err: Any = None
    ) -> Execution:
        """Run a transaction for good.

        With `forced_err` its writes are put back and the fee is charged, as for one that failed in its block.
        """
        self._set_clock()
        before = self._snapshot(addresses)
        result = self._svm.send_transaction(transaction)
        meta, err = _meta(result), _err(result)
        logs = meta.logs()
        if forced_err is not None and err is None:
            err = forced_err
            logs = [*logs, f"Program failed to complete: {json.dumps(err)}"]
            self._put_back(before, meta.fee())
        after = self._snapshot(addresses)
        payer = addresses.keys[0]
        return Execution(
            err=err,
            fee=meta.fee() if err is None else lamports(before[payer]) - lamports(after[payer]),
            units=meta.compute_units_consumed(),
            logs=logs,
            inner=_inner(meta),
            before=before,
            after=after,
        )

    def simulate(self, transaction: VersionedTransaction) -> Simulation:
        """Run a transaction without effect."""
        self._set_clock()
        result = self._svm.simulate_transaction(transaction)
        meta = result.meta()
        data = meta.return_data()
        return Simulation(
            err=_err(result),
            logs=meta.logs(),
            units=meta.compute_units_consumed(),
            fee=meta.fee(),
            inner=_inner(meta),
            accounts=None if isinstance(result, FailedTransactionMetadata) else dict(result.post_accounts()),
            return_data=(data.program_id, data.data) if data.data else None,
        )

    def token_balances(self, accounts: Snapshot, before: Snapshot) -> tuple[TokenBalance, ...]:
        """Return the token accounts among `accounts`; decimals come from their mints, even closed."""
        balances = []
        for index, (key, account) in enumerate(accounts.items()):
            holding = parse_holding(account)
            if holding is None or account is None:
                continue
            mint = parse_mint(before.get(holding.mint)) or parse_mint(self._svm.get_account(holding.mint))
            balances.append(
                TokenBalance(
                    account_index=index,
                    account=str(key),
                    mint=str(holding.mint),
                    owner=str(holding.owner),
                    program=str(account.owner),
                    amount=holding.amount,
                    withheld=holding.withheld,
                    decimals=mint.decimals if mint else 0,
                )
            )
        return tuple(balances)

    def _snapshot(self, addresses: Addresses) -> Snapshot:
        return {key: self._svm.get_account(key) for key in addresses.keys}

    def _put_back(self, before: Snapshot, fee: int) -> None:
        for index, (key, account) in enumerate(before.items()):
            if account is not None and index == 0:
                left = account.lamports - fee
                account = Account(left, account.data, account.owner, account.executable, account.rent_epoch)  # noqa: PLW2901
            self._svm.set_account(key, account or NO_ACCOUNT)

    def _set_clock(self) -> None:
        slot = self._clock.slot()
        if slot != self._slot:
            epoch, self._slot = slot // SLOTS_PER_EPOCH, slot
            self._svm.set_clock(Clock(slot, 0, epoch, epoch + 1, self._clock.unix_at(self._clock.uptime)))


def lamports(account: Account | None) -> int:
    """Return the lamports of an account that may not exist."""
    return 0 if account is None else account.lamports


def _meta(result: TransactionMetadata | FailedTransactionMetadata) -> TransactionMetadata:
    return result.meta() if isinstance(result, FailedTransactionMetadata) else result


def _err(result: Any) -> Any:
    return json.loads(result.to_json())["err"] if isinstance(result, FailedTransactionMetadata) else None


def _inner(meta: TransactionMetadata) -> tuple[tuple[InvokedInstruction, ...], ...]:
    return tuple(
        tuple(
            InvokedInstruction(
                call.instruction().program_id_index,
                tuple(call.instruction().accounts),
                bytes(call.instruction().data),
                call.stack_height() or 0,
            )
            for call in group
        )
        for group in meta.inner_instructions()
    )
