"""The base of the four jobs, one way to work on wallets: read rows and chain, plan, apply, look again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from cp_ops.runtime.errors import RemoteRefusedError
from cp_ops.runtime.job import Job
from cp_ops.runtime.preflight import Table
from cp_ops.solana.apply import apply_to_rows, settle_wallets
from cp_ops.solana.options import SolanaOptions
from cp_ops.solana.plan import plan_wallets
from cp_ops.solana.reports import report_conditions
from cp_ops.solana.second_look import SecondLook
from cp_ops.solana.sending import Patience, Sender
from cp_ops.solana.survey import WalletSurvey
from cp_ops.solana.sweeping import Sweeper
from cp_ops.solana.wallets import WalletRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.options import JobOptions
    from cp_ops.solana.actions import WalletPlan
    from cp_ops.solana.chain import Surroundings
    from cp_ops.solana.configuration import PaymentTables, SolanaConfiguration
    from cp_ops.solana.moves import Move
    from cp_ops.solana.rpc import Rpc
    from cp_ops.solana.survey import Scene
    from cp_ops.solana.sweeping import Swept


def tables_needed(tables: PaymentTables) -> tuple[Table, ...]:
    """Give what the preflight checks of a deployment's tables."""
    payment = (
        "id payment_address status signature expiration_date updated one_time_payment_wallet_id paid_token_id"
    )
    return (
        Table.of(tables.payments, payment, "SELECT", "UPDATE"),
        Table.of(tables.wallets, "id keypair_json state receiver_address updated", "SELECT", "UPDATE"),
        Table.of(tables.tokens, "id mint_address"),
        Table.of(tables.prices, "id token_id amount_in_crypto"),
        Table.of(tables.payment_prices, f"{tables.payment_column} solanapaypaymentcryptoprice_id"),
    )


class WalletJob(Job[SolanaOptions]):
    """What the four commands have in common; each says which wallets are in its scope.

    :param connect: opens the RPC client, after the configuration was checked.
    """

    statements = "solana/wallets"
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
        self.identifiers = configuration.tables.identifiers()
        self.needs = tables_needed(configuration.tables)  # type: ignore[misc]

    def in_scope(self, run: JobRun, tx: Transaction, options: SolanaOptions) -> list[WalletRow]:
        """Select the wallets that the command looks at."""
        raise NotImplementedError

    def run(self, run: JobRun, options: SolanaOptions) -> None:
        """Resolve what earlier runs left open, read, plan, apply, look again."""
        with self._connect(self.configuration) as rpc:
            rpc.pause_between_requests(options.sleep)
            try:
                _WalletRun(self, run, rpc, options).work()
            finally:
                run.remote_call(rpc.calls)

    def select(self, tx: Transaction, *, limit: int | None, **where: Any) -> list[WalletRow]:
        """Read rows of statement `wallets`; what is not given does not restrict."""
        given = dict.fromkeys(("statuses", "states", "expired_by", "expired_after", "wallet_ids")) | where
        return tx.rows("wallets", WalletRow.of, limit=limit, **given)

    def sender(self, run: JobRun, rpc: Rpc) -> Sender:
        """Build what follows transactions to their end."""
        return Sender(run, rpc, self.configuration.commitment, patience=self._patience)


class _WalletRun:
    """One run's work."""

    def __init__(self, job: WalletJob, run: JobRun, rpc: Rpc, options: SolanaOptions) -> None:
        self._job = job
        self._run = run
        self._rpc = rpc
        self._options = options
        self._configuration = job.configuration
        self._sender = job.sender(run, rpc)
        self._survey = WalletSurvey(run, rpc, self._configuration, moves=job.moves)

    def work(self) -> None:
        """Do it all.

        The rows are settled last, by what the chain shows then. A crash before leaves them behind the chain, never ahead
        of it, and the next run of any command finds that out.
        """
        run, settings = self._run, self._run.settings
        # First of all: a wallet whose transaction is still open is left out of everything below.
        if self._job.moves and not run.dry_run:
            self._finish_open()
        scene = self._look()
        terms = self._survey.terms(scene)
        cases = self._survey.cases(scene, terms)
        made = plan_wallets(cases, terms)
        applies = run.accept(made.plan)
        made.require_within(
            settings.solana_max_sweep_lamports, settings.solana_max_sweep_tokens, scene.around
        )
        if run.dry_run:
            return
        status = self._configuration.payment_acceptance_commitment
        rows = apply_to_rows(run, made, status) if applies else {}
        swept = self._sweep(made, rows, scene) if applies else None
        settle_wallets(run, made, rows, swept, receiver=str(self._configuration.receiver))
        if self._job.moves:
            problems = swept.problems if swept else []
            # What is on hold or under way was not looked at closely: its findings stay as they are.
            examined = [case.row for case in cases if not case.hold and not case.row.in_flight]
            report_conditions(run, examined, made.findings, problems)

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
        with self._run.read() as tx:
            mints = [row["mint_address"] for row in tx.rows("listed_mints")]
            rows = self._job.in_scope(self._run, tx, self._options)
        return self._survey.look(rows, mints)

    def _sweep(self, made: WalletPlan, rows: dict[int, WalletRow], scene: Scene) -> Swept | None:
        moves = [
            replace(move, row=rows[move.row.wallet_id]) for move in made.moves if move.row.wallet_id in rows
        ]
        if not moves:
            return None
        self._require_receiver(moves, scene.around)
        second_look = SecondLook(self._run, self._rpc, self._configuration, scene.around)
        sweeper = Sweeper(self._run, self._rpc, self._configuration, self._sender, scene.around, second_look)
        swept = sweeper.sweep(moves, scene.chain)
        sweeper.balance.note(self._run)
        self._run.note("transactions", swept.transactions)
        for row, error in swept.problems:
            self._run.fail(row.target, error)
        self._run.skip("under way: a transaction that the chain has not decided yet", len(swept.undecided))
        self._run.skip("held by another process", len(swept.elsewhere))
        return swept

    def _require_receiver(self, moves: Sequence[Move], around: Surroundings) -> None:
        """Refuse to fund a new receiver with less than it must hold."""
        # The chain refuses to leave a new account below its rent floor, and every transfer of the run would fail one by one.
        lamports = [move.lamports for move in moves if move.lamports]
        if (
            lamports
            and not around.receiver_lamports
            and min(lamports) < (floor := self._rpc.rent_exemption(0))
        ):
            raise RemoteRefusedError(
                f"the receiver {around.receiver} does not exist on the chain: send it at least {floor} lamports once"
            )
