"""What a run sees before it plans: rows, chain, history."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cp_ops.solana.chain import list_extra_accounts, read_surroundings, read_wallets
from cp_ops.solana.configuration import FASTER, SLOWER
from cp_ops.solana.departed import find_transfers, judge_departed
from cp_ops.solana.history import Paid, Pending, covers, judge_payments
from cp_ops.solana.plan import Terms
from cp_ops.solana.reports import Case
from cp_ops.solana.wallets import EMPTIED, State, Status, WalletRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import SolanaConfiguration
    from cp_ops.solana.history import Verdict
    from cp_ops.solana.rpc import Rpc
    from cp_ops.solana.wallets import WalletOnChain

INSPECTED_AT_ONCE = 25
"""Wallets whose token accounts a run lists one by one (two calls each); with more new ones, that is left to a quieter run."""
NEW = timedelta(days=1)
"""Wallets whose payment ran out longer ago are a backlog: they are inspected a few at a time, whatever else is due."""

ASKED_AT_ONCE = 25
"""Unpaid payments about to expire, their wallets as created, that a run asks the history of, one call each."""
UNEQUAL = "changed in the last seconds, not at every commitment yet"
CHANGED = "changed while it was looked at"
UNREAD = "a transaction in its history could not be read"


@dataclass
class Scene:
    """What a run knows: the rows, the chain, and the surroundings of transfers.

    :param chain: the wallets at the commitment of transfers, by address.
    :param judged: the same at the acceptance commitment, where that differs and it matters.
    :param chain_time: seconds since 1970 of a block that every reading was taken after.
    """

    around: Surroundings
    rows: list[WalletRow] = field(default_factory=list)
    chain: dict[str, WalletOnChain] = field(default_factory=dict)
    judged: dict[str, WalletOnChain] = field(default_factory=dict)
    chain_time: int | None = None

    def pairs(self, rows: Iterable[WalletRow]) -> list[tuple[WalletRow, WalletOnChain]]:
        """Give rows with what payments are judged by."""
        return [(row, self.judged[row.address]) for row in rows]


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
        self._level = configuration.commitment
        self._acceptance = configuration.payment_acceptance_commitment

    def look(self, rows: list[WalletRow], mints: Sequence[str]) -> Scene:
        """Read wallets and their surroundings from the chain; its time first: what is paid by then is in the readings."""
        level, acceptance = self._level, self._acceptance
        expiring = any(row.status == Status.INITIATED and row.expires_at <= self._run.now for row in rows)
        chain_time = None
        if expiring and self._moves:
            chain_time = self._rpc.block_time(SLOWER if SLOWER in (level, acceptance) else FASTER)
        receiver = str(self._configuration.receiver)
        scene = Scene(
            read_surroundings(self._rpc, level, mints=mints, receiver=receiver, fee_payer=self._payer),
            chain_time=chain_time,
        )
        scene.rows = rows
        scene.chain = read_wallets(self._rpc, level, rows, scene.around)
        if self._moves:
            self._inspect(scene)
        scene.judged = dict(scene.chain)
        if level != acceptance:
            twice = [row for row in scene.rows if level == SLOWER or row.status == Status.INITIATED]
            scene.judged |= read_wallets(self._rpc, acceptance, twice, scene.around)
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
        new = [row for row in own if row.expires_at > self._run.now - NEW]
        if not due or len(new) > INSPECTED_AT_ONCE:
            return
        backlog = [row for row in own if row.expires_at <= self._run.now - NEW]
        due = [*new, *backlog, *(row for row in due if row.state in EMPTIED)][:INSPECTED_AT_ONCE]
        extra = list_extra_accounts(self._rpc, self._level, due, scene.around)
        known = [replace(row, extra_accounts=tuple(extra[row.wallet_id])) for row in due]
        scene.rows = [
            replace(row, extra_accounts=tuple(extra[row.wallet_id])) if row.wallet_id in extra else row
            for row in scene.rows
        ]
        scene.chain |= read_wallets(
            self._rpc, self._level, [row for row in known if row.extra_accounts], scene.around
        )
        if self._run.dry_run:
            return
        with self._run.write() as tx:
            tx.execute(
                "record_inspections",
                wallet_ids=list(extra),
                accounts=[",".join(accounts) for accounts in extra.values()],
                now=self._run.now,
            )

    def terms(self, scene: Scene) -> Terms:
        """Give what the planner decides by."""
        return Terms(self._run.now, scene.chain_time, scene.around, moves=self._moves)

    def cases(self, scene: Scene, terms: Terms) -> list[Case]:
        """Add what the chain's history says of payments that are not decided, and of wallets that are empty."""
        around = scene.around
        undecided = [row for row in scene.rows if not row.in_flight]
        initiated = [row for row in undecided if row.status == Status.INITIATED]
        holds = {
            row.wallet_id: UNEQUAL
            for row in undecided
            if scene.judged[row.address] != scene.chain[row.address]
        }
        verdicts = judge_payments(
            self._rpc, self._acceptance, scene.pairs(initiated), around, fee_payer=self._payer
        )
        for row in initiated:
            readings = (scene.chain[row.address], scene.judged[row.address])
            open_ = not isinstance(verdicts[row.payment_id], Paid)
            if row.wallet_id in holds and open_ and any(covers(row, chain, around) for chain in readings):
                verdicts[row.payment_id] = Pending(awaited=True)
        suspects = self._departed(initiated, verdicts, holds, scene, terms)
        verdicts |= judge_departed(self._rpc, self._acceptance, scene.pairs(suspects), around)
        emptied = [
            row
            for row in undecided
            if (
                isinstance(verdicts.get(row.payment_id), Paid)
                if row.status == Status.INITIATED
                else row.status != Status.EXPIRED and row.state != State.SENT and row.moved_by is None
            )
            and row.wallet_id not in holds
            and not scene.chain[row.address].funded
        ]
        transfers = find_transfers(self._rpc, self._level, emptied, around)
        holds |= dict.fromkeys(transfers.unread, UNREAD)
        holds |= self._changed(
            [
                row
                for row in initiated
                if terms.run_out(row)
                and row.wallet_id not in holds
                and not isinstance(verdicts[row.payment_id], Paid | Pending)
            ],
            scene,
        )
        return [
            Case(
                row,
                scene.chain[row.address],
                verdicts.get(row.payment_id),
                transfers.found.get(row.wallet_id),
                holds.get(row.wallet_id, ""),
            )
            for row in scene.rows
        ]

    def _departed(
        self,
        initiated: Sequence[WalletRow],
        verdicts: Mapping[int, Verdict],
        holds: Mapping[int, str],
        scene: Scene,
        terms: Terms,
    ) -> list[WalletRow]:
        """Select payments about to expire whose money the application may have moved on already.

        It marks a wallet before it sends, unless the mark was rolled back with the rest of a request (Django's
        ATOMIC_REQUESTS): then missing token accounts are a sign, and a few wallets are all asked, a call each.
        """
        due = [
            row
            for row in initiated
            if (terms.run_out(row) if self._moves else row.expires_at <= terms.now)
            and row.wallet_id not in holds
            and not isinstance(verdicts[row.payment_id], Paid | Pending)
        ]
        created = [row for row in due if row.state == State.CREATED]
        if len(created) <= ASKED_AT_ONCE:
            return due
        return [row for row in due if row.state != State.CREATED or _lacks_accounts(row, scene)]

    def _changed(self, expiring: Sequence[WalletRow], scene: Scene) -> dict[int, str]:
        """Read payments that are about to expire once more: those that got something meanwhile are judged anew later."""
        if not expiring:
            return {}
        level = FASTER if FASTER in (self._level, self._acceptance) else SLOWER
        now = read_wallets(self._rpc, level, expiring, scene.around)
        return {row.wallet_id: CHANGED for row in expiring if now[row.address] != scene.chain[row.address]}


def _lacks_accounts(row: WalletRow, scene: Scene) -> bool:
    there = {holding.mint for holding in scene.chain[row.address].holdings}
    return any(price.mint not in there for price in row.prices if price.mint in scene.around.mints)
