"""A job, and what it sees of the world while it runs."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from cp_ops.runtime import audit, findings
from cp_ops.runtime.database import Tenant, Tenants, Transaction, transaction
from cp_ops.runtime.errors import RowFailedError
from cp_ops.runtime.firms import Firm, all_firm_ids, served_firms
from cp_ops.runtime.options import JobOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import date, datetime

    import psycopg

    from cp_ops.runtime.findings import FindingsLedger, Settled
    from cp_ops.runtime.lease import Lease
    from cp_ops.runtime.outcome import Failure, Outcome
    from cp_ops.runtime.plan import Plan
    from cp_ops.runtime.preflight import Session, Table
    from cp_ops.runtime.settings import Settings

log = logging.getLogger(__name__)

Options = TypeVar("Options", bound=JobOptions)


class Job(ABC, Generic[Options]):
    """One command: options in, outcome out. Knows nothing of Airflow.

    A subclass names its command, the file of its statements, its options and the tables it needs; its constructor takes
    the clients of outside systems.

    :cvar statements: the file below `include/sql/` that bare statement names mean, such as ``finance/charges``.
    :ivar identifiers: what these statements' open places stand for in this deployment, such as
        ``{"payments": "shop_payment"}``.
    """

    command: ClassVar[str]
    statements: ClassVar[str]
    options: ClassVar[type[JobOptions]]
    needs: ClassVar[tuple[Table, ...]] = ()
    identifiers: Mapping[str, str] = MappingProxyType({})

    def scope(self, options: Options) -> str:  # noqa: ARG002 - for subclasses
        """Name what the lease covers: the whole command, unless a job can run for several subjects at once."""
        return ""

    @abstractmethod
    def run(self, run: JobRun, options: Options) -> None:
        """Read, plan, apply."""


class JobRun:
    """What a job sees of the world: transactions that check the fence, the clock, firms, findings, audit, counters."""

    def __init__(
        self,
        *,
        job: Job[Any],
        connection: psycopg.Connection[Any],
        lease: Lease,
        session: Session,
        settings: Settings,
        outcome: Outcome,
        now: datetime,
        on_progress: Callable[[str], None],
    ) -> None:
        self.command = job.command
        self.run_id = lease.fence
        self.dry_run = outcome.dry_run
        self.settings = settings
        self.session = session
        self.outcome = outcome
        self.now = now
        self._statements = job.statements
        self._identifiers = job.identifiers
        self._connection = connection
        self._lease = lease
        self._on_progress = on_progress
        self._counts: dict[int, Counter[str]] = {}

    # -- firms ---------------------------------------------------------------------------------------------------

    def firms(self, firm_id: int | None) -> list[Firm]:
        """Give the firms that this run covers: one, or every active or trial one.

        :raises OptionsError: when the firm does not exist or is not served.
        """
        with self.read() as tx:
            return served_firms(tx, firm_id)

    def every_firm(self) -> list[int]:
        """Give the id of every firm, whatever its status."""
        with self.read() as tx:
            return all_firm_ids(tx)

    def firm_days(self, firms: Iterable[Firm]) -> dict[int, date]:
        """Give each firm's calendar day; a firm whose time zone is not known fails alone and is left out."""
        days: dict[int, date] = {}
        for firm in firms:
            try:
                days[firm.id] = firm.today(self.now)
            except RowFailedError as error:
                self.fail(f"firm_firm:{firm.id}", error)
        return days

    def tenants(self, firm_ids: Sequence[int]) -> Tenants:
        """Cut firms into what one transaction may see: all at once, or one by one under row-level security."""
        # A policy that reads the setting shows one firm at a time.
        if self.session.guarded:
            return Tenants(Tenant((firm_id,), guard=firm_id) for firm_id in firm_ids)
        return Tenants([Tenant(tuple(firm_ids))] if firm_ids else [])

    # -- transactions --------------------------------------------------------------------------------------------

    @contextmanager
    def read(self, tenant: Tenant | None = None, *, snapshot: bool = False) -> Iterator[Transaction]:
        """Open a read-only transaction.

        :param snapshot: read everything as of one moment (REPEATABLE READ).
        """
        with self._transaction(tenant) as tx:
            level = "REPEATABLE READ" if snapshot else "READ COMMITTED"
            tx.connection.execute(f"SET TRANSACTION ISOLATION LEVEL {level} READ ONLY".encode())
            self._see(tx, tenant)
            yield tx

    @contextmanager
    def write(self, tenant: Tenant | None = None) -> Iterator[Transaction]:
        """Open a writing transaction; it holds the fence until it ends.

        :raises LeaseLostError: when another run has taken over.
        """
        if self.dry_run:
            raise RuntimeError(f"{self.command} tried to write in a dry run")
        with self._transaction(tenant) as tx:
            # The fence comes first: a run that lost its lease must not even see what it would write.
            self._lease.check(tx)
            self._see(tx, tenant)
            yield tx

    @contextmanager
    def temporary_tables(self, create: Sequence[str], drop: str) -> Iterator[None]:
        """Keep temporary tables of the job's own, also in a dry run; a `read` transaction may fill them.

        :param create: the named statements that make them.
        :param drop: the named statement that drops them at the end.
        """
        with self._transaction(None) as tx:
            for name in create:
                tx.execute(name)
        try:
            yield
        finally:
            # A connection that is gone took its temporary tables with it.
            if not (self._connection.closed or self._connection.broken):
                with self._transaction(None) as tx:
                    tx.execute(drop)

    @contextmanager
    def _transaction(self, tenant: Tenant | None) -> Iterator[Transaction]:
        if self.session.guarded and tenant is not None and tenant.guard is None:
            raise RuntimeError("under row-level security a transaction sees one firm: use tenants()")
        with transaction(self._connection):
            yield Transaction(self._connection, self._statements, self.outcome, self._identifiers)

    def _see(self, tx: Transaction, tenant: Tenant | None) -> None:
        if tenant is not None and tenant.guard is not None:
            tx.as_firm(tenant.guard)

    # -- plan and outcome ----------------------------------------------------------------------------------------

    def accept(self, plan: Plan, *, expected: str | None = None) -> bool:
        """Record a plan, show it in the log, and tell whether to apply it: not in a dry run, not when it is empty.

        :param expected: the hash of the plan that was approved.
        :raises PlanChangedError: when the plan is another one.
        """
        self.outcome.planned += plan.rows
        for action in plan.actions:
            self.outcome.planned_kinds[action.kind] += action.rows
        for skip in plan.skips:
            self.outcome.skip(skip.reason, skip.rows)
        self.outcome.plan_sha256 = plan.sha256
        log.info("plan sha256:%s\n%s", plan.sha256, plan.table())
        # After the log: whoever approved another plan can read there what is due now.
        plan.require(expected)
        return bool(plan.actions) and not self.dry_run

    def done(self, kind: str, rows: int, firm_id: int | None = None) -> None:
        """Count rows that were done, after their transaction has committed."""
        self.outcome.done += rows
        if rows:
            self.outcome.done_kinds[kind] += rows
        if firm_id is not None:
            self.count(firm_id, kind, rows)

    def skip(self, reason: str, rows: int = 1) -> None:
        """Count rows that were passed over, with the reason."""
        if rows:
            self.outcome.skip(reason, rows)

    def fail(self, target: str, error: BaseException, rows: int = 1) -> None:
        """Count a row that failed and go on; the task fails at the end, naming it."""
        failure: Failure = self.outcome.fail(target, error, rows)
        log.error("failed %s: %s", failure.target, failure.reason)

    def note(self, name: str, value: int | str) -> None:
        """Put a number of the job's own into the outcome."""
        self.outcome.numbers[name] = value

    def remote_call(self, calls: int = 1) -> None:
        """Count calls to an outside system."""
        self.outcome.remote_calls += calls

    def progress(self, text: str) -> None:
        """Show how far the run is: in the log and, while it runs, in the Airflow UI."""
        log.info("%s", text)
        self._on_progress(text)

    # -- findings and audit --------------------------------------------------------------------------------------

    def count(self, firm_id: int, name: str, rows: int = 1) -> None:
        """Count something for a firm's audit event."""
        self._counts.setdefault(firm_id, Counter())[name] += rows

    @contextmanager
    def findings(self, tx: Transaction) -> Iterator[FindingsLedger]:
        """Settle findings inside a writing transaction."""
        with findings.ledger(tx, self.command, self.run_id) as ledger:
            yield ledger

    def count_findings(self, settled: Settled) -> None:
        """Add what `FindingsLedger.settle` gave to the outcome and to the firms' audit events."""
        self.outcome.findings.add(settled.counts)
        for firm_id, counts in settled.by_firm.items():
            for name, rows in counts.items():
                self.count(firm_id, name, rows)

    def audit(self, category: audit.Category, firm_ids: Sequence[int]) -> None:
        """Write the run's audit event of each firm; nothing in a dry run."""
        if self.dry_run:
            return
        for tenant in self.tenants(firm_ids):
            with self.write(tenant) as tx:
                audit.record_run(
                    tx,
                    command=self.command,
                    category=category,
                    now=self.now,
                    run_id=self.run_id,
                    counts={firm_id: self._counts.get(firm_id, {}) for firm_id in tenant.firm_ids},
                )
