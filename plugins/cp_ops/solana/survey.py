"""What a run sees before it plans: rows, chain, history."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cp_ops.solana.chain import list_extra_accounts, read_surroundings, read_wallets
from cp_ops.solana.history import find_transfers, judge_payments
from cp_ops.solana.planner import Terms
from cp_ops.solana.reports import Case
from cp_ops.solana.wallets import EMPTIED, State, Status, WalletRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import SolanaConfiguration
    from cp_ops.solana.rpc import Rpc
    from cp_ops.solana.wallets import WalletOnChain

INSPECTED_AT_ONCE = 25
"""Wallets whose token accounts a run lists one by one (two calls each); with more of them, that is left to a quieter run."""


@dataclass
class Scene:
    """What a run knows: the rows, the chain, and the surroundings of transfers."""

    around: Surroundings
    rows: list[WalletRow] = field(default_factory=list)
    chain: dict[str, WalletOnChain] = field(default_factory=dict)


class Survey:
    """Reads wallets.

    :param moves: whether the run moves funds: only then is it worth to look for unusual accounts.
    """

    def __init__(self, run: JobRun, rpc: Rpc, configuration: SolanaConfiguration, *, moves: bool) -> None:
        self._run = run
        self._rpc = rpc
        self._configuration = configuration
        self._moves = moves
        self._payer = str(configuration.fee_payer.pubkey())

    def look(self, rows: list[WalletRow], mints: Sequence[str]) -> Scene:
        """Read wallets and their surroundings from the chain."""
        level = self._configuration.commitment
        receiver = str(self._configuration.receiver)
        scene = Scene(
            read_surroundings(self._rpc, level, mints=mints, receiver=receiver, fee_payer=self._payer)
        )
        scene.rows = rows
        scene.chain = read_wallets(self._rpc, level, rows, scene.around)
        if self._moves:
            self._inspect(scene)
        return scene

    def _inspect(self, scene: Scene) -> None:
        """Look for token accounts beside the listed ones, once per wallet, where that is a matter of few calls."""
        due = [
            row
            for row in scene.rows
            if row.extra_accounts is None
            and not row.in_flight
            and not (row.status == Status.INITIATED and row.expires_at > self._run.now)
        ]
        own = [row for row in due if row.state not in EMPTIED]
        if not due or len(own) > INSPECTED_AT_ONCE:
            return
        due = [*own, *(row for row in due if row.state in EMPTIED)][:INSPECTED_AT_ONCE]
        level = self._configuration.commitment
        extra = list_extra_accounts(self._rpc, level, due, scene.around)
        known = [replace(row, extra_accounts=tuple(extra[row.wallet_id])) for row in due]
        scene.rows = [
            replace(row, extra_accounts=tuple(extra[row.wallet_id])) if row.wallet_id in extra else row
            for row in scene.rows
        ]
        scene.chain |= read_wallets(
            self._rpc, level, [row for row in known if row.extra_accounts], scene.around
        )
        if self._run.dry_run:
            return
        with self._run.write() as tx:
            tx.with_identifiers(self._configuration.tables.identifiers()).execute(
                "record_inspections",
                wallet_ids=list(extra),
                accounts=[",".join(accounts) for accounts in extra.values()],
                now=self._run.now,
            )

    def cases(self, scene: Scene) -> list[Case]:
        """Add what the chain's history says of payments that are not decided, and of wallets that are empty."""
        undecided = [row for row in scene.rows if not row.in_flight]
        initiated = [(row, scene.chain[row.address]) for row in undecided if row.status == Status.INITIATED]
        verdicts = judge_payments(
            self._rpc,
            self._configuration.payment_acceptance_commitment,
            initiated,
            scene.around,
            fee_payer=self._payer,
        )
        emptied = [
            row
            for row in undecided
            if row.status not in (Status.INITIATED, Status.EXPIRED)
            and row.state != State.SENT
            and row.moved_by is None
            and not scene.chain[row.address].funded
        ]
        transfers = find_transfers(self._rpc, self._configuration.commitment, emptied, scene.around)
        return [
            Case(row, scene.chain[row.address], verdicts.get(row.payment_id), transfers.get(row.wallet_id))
            for row in scene.rows
        ]

    def terms(self, scene: Scene) -> Terms:
        """Give what the planner decides by."""
        now = self._run.now
        expiring = any(row.status == Status.INITIATED and row.expires_at <= now for row in scene.rows)
        chain_time = None
        if expiring and self._moves:
            chain_time = self._rpc.block_time(self._configuration.payment_acceptance_commitment)
        return Terms(now, chain_time, scene.around, moves=self._moves)
