"""One way to work on wallets, which the four commands share: read rows and chain, plan, apply, look again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from cp_ops.runtime.audit import Category
from cp_ops.runtime.findings import Finding, Severity, ledger
from cp_ops.runtime.job import Job
from cp_ops.runtime.preflight import Table
from cp_ops.solana.chain import list_extra_accounts, read_surroundings, read_wallets
from cp_ops.solana.history import find_transfers, judge_payments
from cp_ops.solana.keys import KeyUnusableError
from cp_ops.solana.options import SolanaOptions
from cp_ops.solana.planner import ARRIVALS, CONDITIONS, Case, Terms, WalletPlan, plan_wallets
from cp_ops.solana.rpc import TransactionRejectedError
from cp_ops.solana.sending import Patience, Sender
from cp_ops.solana.sweeping import Sweeper
from cp_ops.solana.wallets import State, Status, WalletRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.options import JobOptions
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import PaymentTables, SolanaConfiguration
    from cp_ops.solana.planner import Move
    from cp_ops.solana.rpc import Rpc
    from cp_ops.solana.sweeping import Swept
    from cp_ops.solana.wallets import WalletOnChain

LEDGER = "solana_payments"
"""Whose findings these are: one name for the four commands, so that each finds a thing once."""
INSPECTED_AT_ONCE = 25
"""Wallets whose token accounts a run lists one by one (two calls each); with more of them, that is left to a quieter run."""
BATCH = 500
EMPTIED = (State.SENT, State.CLOSED)


@dataclass
class Scene:
    """What a run knows: the rows, the chain, and the surroundings of transfers."""

    around: Surroundings
    rows: list[WalletRow] = field(default_factory=list)
    chain: dict[str, WalletOnChain] = field(default_factory=dict)


def tables_needed(tables: PaymentTables) -> tuple[Table, ...]:
    """Give what the preflight checks of a deployment's tables."""
    write = ("SELECT", "UPDATE")
    payment = (
        "id",
        "payment_address",
        "status",
        "signature",
        "expiration_date",
        "updated",
        "one_time_payment_wallet_id",
        "paid_token_id",
    )
    return (
        Table(tables.payments, payment, write),
        Table(tables.wallets, ("id", "keypair_json", "state", "receiver_address", "updated"), write),
        Table(tables.tokens, ("id", "mint_address")),
        Table(tables.prices, ("id", "token_id", "amount_in_crypto")),
        Table(tables.payment_prices, (tables.payment_column, "solanapaypaymentcryptoprice_id")),
    )


class WalletJob(Job[SolanaOptions]):
    """What the four commands have in common; each says which wallets are in its scope.

    :param connect: opens the RPC client, after the configuration was checked.
    """

    domain = "solana"
    options: ClassVar[type[JobOptions]] = SolanaOptions
    moves: ClassVar[bool] = True
    """Whether the command lets payments expire and moves funds, or only accepts payments."""

    def __init__(
        self,
        configuration: SolanaConfiguration,
        connect: Callable[[SolanaConfiguration], AbstractContextManager[Rpc]],
        *,
        patience: Patience | None = None,
    ) -> None:
        self.configuration = configuration
        self._connect = connect
        self._patience = patience or Patience()
        self._identifiers = configuration.tables.identifiers()
        self.needs = tables_needed(configuration.tables)  # type: ignore[misc]

    def in_scope(self, run: JobRun, tx: Transaction, options: SolanaOptions) -> list[WalletRow]:
        """Select the wallets that the command looks at."""
        raise NotImplementedError

    def run(self, run: JobRun, options: SolanaOptions) -> None:
        """Resolve what earlier runs left open, read, plan, apply, look again."""
        with self._connect(self.configuration) as rpc:
            rpc.pause_between_requests(options.sleep)
            try:
                _Working(self, run, rpc, options).work()
            finally:
                run.remote_call(rpc.calls)

    def select(self, tx: Transaction, *, limit: int | None, **where: Any) -> list[WalletRow]:
        """Read rows of statement `wallets`; what is not given does not restrict."""
        given = dict.fromkeys(("statuses", "states", "expired_by", "expired_after", "wallet_ids")) | where
        return tx.rows("wallets", WalletRow.of, limit=limit, **given)

    def sender(self, run: JobRun, rpc: Rpc) -> Sender:
        """Build what follows transactions to their end."""
        return Sender(run, rpc, self.configuration.commitment, self._identifiers, patience=self._patience)


class _Working:
    """One run's work."""

    def __init__(self, job: WalletJob, run: JobRun, rpc: Rpc, options: SolanaOptions) -> None:
        self._job = job
        self._run = run
        self._rpc = rpc
        self._options = options
        self._configuration = job.configuration
        self._identifiers = self._configuration.tables.identifiers()
        self._payer = str(self._configuration.fee_payer.pubkey())
        self._sender = job.sender(run, rpc)

    def work(self) -> None:
        """Do it all."""
        run, settings = self._run, self._run.settings
        if self._job.moves and not run.dry_run:
            self._finish_open()
        scene = self._look()
        made = plan_wallets(self._cases(scene), self._terms(scene))
        applies = run.accept(made.plan)
        made.require_within(
            settings.solana_max_sweep_lamports, settings.solana_max_sweep_tokens, scene.around
        )
        if run.dry_run:
            return
        rows = self._apply_to_rows(made) if applies else {}
        swept = self._sweep(made, rows, scene) if applies else None
        self._settle(made, rows, swept)
        self._findings(scene, made, swept)

    # -- reading -------------------------------------------------------------------------------------------------

    def _tx(self, tx: Transaction) -> Transaction:
        return tx.with_identifiers(self._identifiers)

    def _finish_open(self) -> None:
        """Follow the transactions that earlier runs left open to their end."""
        waiting = self._sender.open()
        if not waiting:
            return
        self._run.progress(f"{len(waiting)} transactions of earlier runs are open")
        endings = self._sender.follow(waiting, again=True)
        self._run.note("transactions_of_earlier_runs", len(waiting))
        self._run.skip("transaction of an earlier run still undecided", len(endings.undecided))

    def _look(self) -> Scene:
        with self._run.read() as plain:
            tx = self._tx(plain)
            mints = [row["mint_address"] for row in tx.rows("listed_mints")]
            rows = self._job.in_scope(self._run, tx, self._options)
        level = self._configuration.commitment
        receiver = str(self._configuration.receiver)
        scene = Scene(
            read_surroundings(self._rpc, level, mints=mints, receiver=receiver, fee_payer=self._payer)
        )
        scene.rows = rows
        scene.chain = read_wallets(self._rpc, level, rows, scene.around)
        if self._job.moves:
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
        extra = {row.wallet_id: list_extra_accounts(self._rpc, level, row, scene.around) for row in due}
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
            self._tx(tx).execute(
                "record_inspections",
                wallet_ids=list(extra),
                accounts=[",".join(accounts) for accounts in extra.values()],
                now=self._run.now,
            )

    def _cases(self, scene: Scene) -> list[Case]:
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

    def _terms(self, scene: Scene) -> Terms:
        now = self._run.now
        expiring = any(row.status == Status.INITIATED and row.expires_at <= now for row in scene.rows)
        chain_time = None
        if expiring and self._job.moves:
            chain_time = self._rpc.block_time(self._configuration.payment_acceptance_commitment)
        return Terms(now, chain_time, scene.around, moves=self._job.moves)

    # -- applying ------------------------------------------------------------------------------------------------

    def _apply_to_rows(self, made: WalletPlan) -> dict[int, WalletRow]:
        """Accept and expire payments; give, by wallet id, the rows as they are now, without those left alone."""
        rows = {row.wallet_id: row for row in (move.row for move in made.moves)}
        rows |= {row.wallet_id: row for row, _ in made.marks}
        status = self._configuration.payment_acceptance_commitment
        now = self._run.now
        with self._run.write() as plain:
            tx = self._tx(plain)
            accepted: set[int] = set()
            for start in range(0, len(made.accepts), BATCH):
                part = made.accepts[start : start + BATCH]
                answer = tx.rows(
                    "accept_payments",
                    payment_ids=[row.payment_id for row, _ in part],
                    signatures=[paid.signature for _, paid in part],
                    token_ids=[paid.token_id for _, paid in part],
                    mints=[paid.mint for _, paid in part],
                    amounts=[paid.amount for _, paid in part],
                    status=status,
                    now=now,
                    run_id=self._run.run_id,
                )
                accepted |= {row["payment_id"] for row in answer}
            ids = [row.payment_id for row in made.expires]
            expired = {
                row["payment_id"]
                for start in range(0, len(ids), BATCH)
                for row in tx.rows(
                    "expire_payments",
                    payment_ids=ids[start : start + BATCH],
                    now=now,
                    run_id=self._run.run_id,
                )
            }
            if made.findings:
                self._saw(plain, [one for one in made.findings if one.kind in ARRIVALS], ARRIVALS)
        self._run.done("accept", len(accepted))
        self._run.done("expire", len(expired))
        self._run.skip("changed meanwhile", len(made.accepts) + len(ids) - len(accepted) - len(expired))
        for row, _ in made.accepts:
            self._renew(rows, row, status, State.PROCESSING_FUNDS, done=row.payment_id in accepted)
        for row in made.expires:
            self._renew(rows, row, Status.EXPIRED, State.EXPIRED, done=row.payment_id in expired)
        return rows

    @staticmethod
    def _renew(rows: dict[int, WalletRow], row: WalletRow, status: str, state: State, *, done: bool) -> None:
        if not done:
            rows.pop(row.wallet_id, None)
        elif row.wallet_id in rows:
            rows[row.wallet_id] = replace(row, status=status, state=str(state))

    def _sweep(self, made: WalletPlan, rows: dict[int, WalletRow], scene: Scene) -> Swept | None:
        moves = [
            replace(move, row=rows[move.row.wallet_id]) for move in made.moves if move.row.wallet_id in rows
        ]
        if not moves:
            return None
        self._require_receiver(moves, scene.around)

        def look_again(again: Sequence[WalletRow]) -> tuple[dict[str, WalletOnChain], list[Move]]:
            level = self._configuration.commitment
            after = read_wallets(self._rpc, level, again, scene.around)
            cases = [Case(row, after[row.address], transfer="moved in this run") for row in again]
            terms = Terms(self._run.now, None, scene.around)
            return after, plan_wallets(cases, terms).moves

        sweeper = Sweeper(self._run, self._rpc, self._configuration, self._sender, scene.around, look_again)
        swept = sweeper.sweep(moves, scene.chain)
        sweeper.account.note(self._run)
        self._run.note("transactions", swept.transactions)
        for row, error in swept.problems:
            self._run.fail(row.target, error)
        self._run.skip("under way: a transaction that the chain has not decided yet", len(swept.undecided))
        self._run.skip("held by another process", len(swept.elsewhere))
        return swept

    def _require_receiver(self, moves: Sequence[Move], around: Surroundings) -> None:
        """Refuse to fund a new receiver with less than it must hold."""
        from cp_ops.runtime.errors import RemoteRefusedError

        lamports = [move.lamports for move in moves if move.lamports]
        if (
            lamports
            and not around.receiver_lamports
            and min(lamports) < (floor := self._rpc.rent_exemption(0))
        ):
            raise RemoteRefusedError(
                f"the receiver {around.receiver} does not exist on the chain: send it at least {floor} lamports once"
            )

    # -- afterwards ----------------------------------------------------------------------------------------------

    def _settle(self, made: WalletPlan, rows: dict[int, WalletRow], swept: Swept | None) -> None:
        """Give the wallets that are empty now their last state, in one statement."""
        planned = {move.row.wallet_id: move for move in made.moves}
        done = list({move.row.wallet_id: move for move in swept.done}.values()) if swept else []
        settled: list[tuple[WalletRow, str, bool, str]] = []
        for move in done:
            first = planned[move.row.wallet_id]
            if first.target is not None:
                settled.append((move.row, first.target, first.kind == "sweep", first.kind))
            else:
                self._run.done(first.kind, 1)
        settled += [
            (rows[row.wallet_id], target, False, f"mark_{target}")
            for row, target in made.marks
            if row.wallet_id in rows
        ]
        if not settled:
            return
        with self._run.write() as tx:
            answer = self._tx(tx).rows(
                "settle_wallets",
                wallet_ids=[row.wallet_id for row, _, _, _ in settled],
                states=[row.state for row, _, _, _ in settled],
                statuses=[row.status for row, _, _, _ in settled],
                targets=[target for _, target, _, _ in settled],
                swept=[swept_ for _, _, swept_, _ in settled],
                receiver=str(self._configuration.receiver),
                now=self._run.now,
            )
        changed = {row["wallet_id"] for row in answer}
        for row, _, _, kind in settled:
            if row.wallet_id in changed:
                self._run.done(kind, 1)
        self._run.skip("changed meanwhile", len(settled) - len(changed))

    def _findings(self, scene: Scene, made: WalletPlan, swept: Swept | None) -> None:
        """Report what is wrong with wallets now, and resolve what is not any more."""
        found = [one for one in made.findings if one.kind in CONDITIONS]
        found += [_problem(row, error) for row, error in (swept.problems if swept else [])]
        found = [one for one in found if one.kind in CONDITIONS]
        wallets = {f"{row.target}" for row in scene.rows}
        with self._run.read() as plain:
            known = self._tx(plain).rows("open_wallet_findings", ledger=LEDGER, kinds=list(CONDITIONS))
        subjects = [row["subject"] for row in known if ":".join(row["subject"].split(":")[:2]) in wallets] + [
            one.subject for one in found
        ]
        if not self._job.moves or not subjects:
            return
        with self._run.write() as plain:
            self._saw(plain, found, CONDITIONS, subjects)

    def _saw(
        self,
        tx: Transaction,
        found: Sequence[Finding],
        kinds: Sequence[str],
        subjects: Sequence[str] | None = None,
    ) -> None:
        """Settle findings; only those of `subjects` (of what was found, when not given) can be resolved by it."""
        if not found and not subjects:
            return
        with ledger(tx, LEDGER, self._run.run_id) as settled:
            settled.saw(found)
            self._run.count_findings(
                settled.settle(
                    kinds=kinds,
                    firm_ids=[],
                    category=Category.BILLING_METADATA,
                    subjects=list(subjects if subjects is not None else [one.subject for one in found]),
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
