"""What a run sees before it plans: rows, chain, history."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cp_ops.solana.cases import Case
from cp_ops.solana.chain import list_extra_accounts, read_surroundings, read_wallets
from cp_ops.solana.configuration import FASTER, SLOWER
from cp_ops.solana.departed import find_transfers, judge_departed
from cp_ops.solana.history import covers, judge_payments
from cp_ops.solana.plan import Terms
from cp_ops.solana.verdicts import Paid, Pending
from cp_ops.solana.wallets import EMPTIED, PaymentStatus, WalletRow, WalletState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cp_ops.runtime.job import JobRun
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import SolanaConfiguration
    from cp_ops.solana.rpc import Rpc
    from cp_ops.solana.verdicts import PaymentVerdict
    from cp_ops.solana.wallets import WalletOnChain

INSPECTED_AT_ONCE = 25
"""Wallets whose token accounts a run lists one by one (two calls each); with more new ones, that is left to a quieter run."""
NEW = timedelta(days=1)
"""Wallets whose payment ran out longer ago are a backlog: they are inspected a few at a time, whatever else is due."""

ASKED_AT_ONCE = 25
"""If at most this many expiring unpaid payments have a wallet in state `created`, the history of each is asked, one call each."""
UNEQUAL = "changed in the last seconds, not at every commitment yet"
CHANGED = "changed while it was looked at"
UNREAD = "a transaction in its history could not be read"


@dataclass
class Scene:
    """What a run knows: the rows, the chain, and the surroundings of transfers.

    :param chain: the wallets at the commitment of transfers, by address.
    :param judged: the same at the acceptance commitment, where that differs and it matters.
    :param chain_time: the time of the newest block, in seconds since 1970, read before the wallets. A payment made by then
        is therefore in every reading.
    """

    around: Surroundings
    rows: list[WalletRow] = field(default_factory=list)
    chain: dict[str, WalletOnChain] = field(default_factory=dict)
    judged: dict[str, WalletOnChain] = field(default_factory=dict)
    chain_time: int | None = None

    def pairs(self, rows: Iterable[WalletRow]) -> list[tuple[WalletRow, WalletOnChain]]:
        """Give rows with what payments are judged by."""
        return [(row, self.judged[row.address]) for row in rows]

    def differs(self, row: WalletRow) -> bool:
        """Whether the two commitments show a wallet differently: something has just come or gone."""
        return self.judged[row.address] != self.chain[row.address]

    def covers_at_either(self, row: WalletRow) -> bool:
        """Whether one of the two readings shows the price."""
        readings = (self.chain[row.address], self.judged[row.address])
        return any(covers(row, reading, self.around) for reading in readings)


class WalletSurvey:
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
        """Read the chain's time, then wallets and their surroundings, so that what is paid by then is in the readings."""
        level, acceptance = self._level, self._acceptance
        # The time is needed only where a payment may expire, and at the slower of the two commitments: what the faster
        # one shows by that time may still be missing from the readings at the slower one.
        chain_time = None
        if self._moves and any(self._is_expiring(row) for row in rows):
            chain_time = self._rpc.block_time(SLOWER if SLOWER in (level, acceptance) else FASTER)
        receiver = str(self._configuration.receiver)
        scene = Scene(
            read_surroundings(self._rpc, level, mints=mints, receiver=receiver), chain_time=chain_time
        )
        scene.rows = rows
        scene.chain = read_wallets(self._rpc, level, rows, scene.around)
        if self._moves:
            self._inspect(scene)
        scene.judged = dict(scene.chain)
        if level != acceptance:
            twice = [row for row in scene.rows if self._is_read_at_both(row)]
            scene.judged |= read_wallets(self._rpc, acceptance, twice, scene.around)
        return scene

    def _is_expiring(self, row: WalletRow) -> bool:
        return row.status == PaymentStatus.INITIATED and row.expires_at <= self._run.now

    def _is_read_at_both(self, row: WalletRow) -> bool:
        """Whether a wallet is read at the acceptance commitment, too.

        An initiated payment is judged there. Where transfers wait for the slower commitment, every wallet is read at the
        faster one, so that money that has just come or gone shows as two readings that differ.
        """
        return self._level == SLOWER or row.status == PaymentStatus.INITIATED

    def _inspect(self, scene: Scene) -> None:
        """Look for token accounts beside the listed ones, once per wallet, where that is a matter of few calls."""
        due = self._to_inspect(scene.rows)
        if not due:
            return
        extra = list_extra_accounts(self._rpc, self._level, due, scene.around)
        scene.rows = [
            replace(row, extra_accounts=tuple(extra[row.wallet_id])) if row.wallet_id in extra else row
            for row in scene.rows
        ]
        found = [row for row in scene.rows if extra.get(row.wallet_id)]
        scene.chain |= read_wallets(self._rpc, self._level, found, scene.around)
        if self._run.dry_run:
            return
        with self._run.write() as tx:
            tx.execute(
                "record_inspections",
                wallet_ids=list(extra),
                accounts=[",".join(accounts) for accounts in extra.values()],
                now=self._run.now,
            )

    def _to_inspect(self, rows: Iterable[WalletRow]) -> list[WalletRow]:
        """Select the wallets to inspect in this run: new ones first, then the backlog, then those emptied before."""
        due = [row for row in rows if self._may_be_inspected(row)]
        own = [row for row in due if row.state not in EMPTIED]
        new = [row for row in own if self._is_new(row)]
        # A busy run leaves inspecting to a quieter one: with two calls a wallet it would outlast everything else.
        if len(new) > INSPECTED_AT_ONCE:
            return []
        backlog = [row for row in own if not self._is_new(row)]
        emptied = [row for row in due if row.state in EMPTIED]
        return [*new, *backlog, *emptied][:INSPECTED_AT_ONCE]

    def _may_be_inspected(self, row: WalletRow) -> bool:
        """Whether a wallet was never inspected, and customers can no longer be expected to open accounts in it."""
        waiting = row.status == PaymentStatus.INITIATED and row.expires_at > self._run.now
        return row.extra_accounts is None and not row.in_flight and not waiting

    def _is_new(self, row: WalletRow) -> bool:
        return row.expires_at > self._run.now - NEW

    def terms(self, scene: Scene) -> Terms:
        """Give what the planner decides by."""
        return Terms(self._run.now, scene.chain_time, scene.around, moves=self._moves)

    def cases(self, scene: Scene, terms: Terms) -> list[Case]:
        """Add what the chain's history says of payments that are not decided, and of wallets that are empty.

        The order of the questions matters: a hold keeps the later ones from being asked, and the last reading comes after
        everything else, so that nothing which arrived during the run is taken for unpaid.
        """
        undecided = [row for row in scene.rows if not row.in_flight]
        initiated = [row for row in undecided if row.status == PaymentStatus.INITIATED]
        holds = {row.wallet_id: UNEQUAL for row in undecided if scene.differs(row)}
        verdicts = self._verdicts(initiated, holds, scene)
        suspects = self._departed(initiated, verdicts, holds, scene, terms)
        # These verdicts replace the ones by balance: what has left a wallet had come into it before.
        verdicts |= judge_departed(self._rpc, self._acceptance, scene.pairs(suspects), scene.around)
        emptied = [
            row
            for row in undecided
            if _asks_for_its_transfer(row, verdicts)
            and row.wallet_id not in holds
            and not scene.chain[row.address].funded
        ]
        transfers = find_transfers(self._rpc, self._level, emptied, scene.around)
        holds |= dict.fromkeys(transfers.unread, UNREAD)
        expiring = [row for row in initiated if terms.run_out(row) and _is_open_unpaid(row, verdicts, holds)]
        holds |= self._changed(expiring, scene)
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

    def _verdicts(
        self, initiated: Sequence[WalletRow], holds: Mapping[int, str], scene: Scene
    ) -> dict[int, PaymentVerdict]:
        """Judge initiated payments; one whose price is there at one commitment and not at the other is on its way."""
        verdicts = judge_payments(
            self._rpc, self._acceptance, scene.pairs(initiated), scene.around, fee_payer=self._payer
        )
        for row in initiated:
            paid = isinstance(verdicts[row.payment_id], Paid)
            # "Unpaid" at one commitment only is no answer: the payment may be a few seconds old, or dropped again.
            if row.wallet_id in holds and not paid and scene.covers_at_either(row):
                verdicts[row.payment_id] = Pending(awaited=True)
        return verdicts

    def _departed(
        self,
        initiated: Sequence[WalletRow],
        verdicts: Mapping[int, PaymentVerdict],
        holds: Mapping[int, str],
        scene: Scene,
        terms: Terms,
    ) -> list[WalletRow]:
        """Select payments about to expire whose money the application may have moved on already.

        The application marks a wallet before it sends. With Django's ATOMIC_REQUESTS the mark can be rolled back with the
        rest of a request. Then missing token accounts hint at a transfer. If only a few wallets are concerned, all of
        them are asked, a call each.
        """
        due = [
            row
            for row in initiated
            if self._has_run_out(row, terms) and _is_open_unpaid(row, verdicts, holds)
        ]
        # Thousands of payments that nobody paid may expire in one run, and each question is a call.
        created = [row for row in due if row.state == WalletState.CREATED]
        if len(created) <= ASKED_AT_ONCE:
            return due
        return [row for row in due if row.state != WalletState.CREATED or _lacks_accounts(row, scene)]

    def _has_run_out(self, row: WalletRow, terms: Terms) -> bool:
        """Whether a payment's time is over. A command that only accepts lets nothing expire, so our clock is enough."""
        return terms.run_out(row) if self._moves else row.expires_at <= terms.now

    def _changed(self, expiring: Sequence[WalletRow], scene: Scene) -> dict[int, str]:
        """Read payments that are about to expire once more: those that got something meanwhile are judged anew later."""
        if not expiring:
            return {}
        # At the faster commitment in use: it shows first what has come in since the other readings.
        level = FASTER if FASTER in (self._level, self._acceptance) else SLOWER
        now = read_wallets(self._rpc, level, expiring, scene.around)
        return {row.wallet_id: CHANGED for row in expiring if now[row.address] != scene.chain[row.address]}


def _is_open_unpaid(row: WalletRow, verdicts: Mapping[int, PaymentVerdict], holds: Mapping[int, str]) -> bool:
    """Whether the chain shows no payment in time so far, and nothing keeps the wallet from being decided on."""
    return row.wallet_id not in holds and not isinstance(verdicts[row.payment_id], Paid | Pending)


def _asks_for_its_transfer(row: WalletRow, verdicts: Mapping[int, PaymentVerdict]) -> bool:
    """Whether a wallet, if it is empty, needs the transaction that emptied it: only that proves whose money it is now.

    Such is a payment that this run accepts, and one that was accepted before and is neither marked as sent nor known to
    have been swept by cp_ops. An expired payment's wallet may be empty without any transfer.
    """
    if row.status == PaymentStatus.INITIATED:
        return isinstance(verdicts.get(row.payment_id), Paid)
    return row.status != PaymentStatus.EXPIRED and row.state != WalletState.SENT and row.moved_by is None


def _lacks_accounts(row: WalletRow, scene: Scene) -> bool:
    """Whether a token account of a priced mint is missing: whoever swept the wallet closed it."""
    there = {holding.mint for holding in scene.chain[row.address].holdings}
    return any(price.mint not in there for price in row.prices if price.mint in scene.around.mints)
