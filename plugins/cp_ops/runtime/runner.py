"""The path of one run: connect, check, take the lease, run the job, record the outcome."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from cp_ops.runtime.database import Transaction, end_interrupted, ended_when_interrupted, transaction
from cp_ops.runtime.errors import (
    AlreadyRunningError,
    EarlierAttemptRunningError,
    LeaseLostError,
    PreflightError,
    translate,
)
from cp_ops.runtime.job import JobRun
from cp_ops.runtime.lease import TTL, Identity, acquire
from cp_ops.runtime.outcome import ALREADY_RUNNING, Outcome, RunState
from cp_ops.runtime.preflight import Table, inspect
from cp_ops.runtime.schema_version import HEAD

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import psycopg

    from cp_ops.runtime.job import Job
    from cp_ops.runtime.lease import Lease
    from cp_ops.runtime.options import JobOptions
    from cp_ops.runtime.settings import Settings

log = logging.getLogger(__name__)

RUNTIME_NEEDS = (
    Table("firm_firm", ("id", "slug", "status", "timezone", "currency", "kms_key_id")),
    Table("firm_audit_events", ("firm_id", "action", "timestamp", "metadata"), ("SELECT", "INSERT")),
)
"""What every run uses of the application's tables."""
FENCE_SECONDS = 10
"""How long an interrupted run waits for the end of its transaction, before it leaves its lease to expire."""


def _no_progress(_: str) -> None:
    """Show progress nowhere but in the log."""


def run_job(  # noqa: PLR0913 - a run's whole surroundings
    job: Job[Any],
    options: JobOptions,
    *,
    connect: Callable[[], psycopg.Connection[Any]],
    settings: Settings,
    identity: Identity,
    outcome: Outcome | None = None,
    now: datetime | None = None,
    on_progress: Callable[[str], None] = _no_progress,
    lease_ttl: int = TTL,
) -> Outcome:
    """Run a job once and give its outcome.

    :param connect: opens a connection to the application's database, in autocommit mode.
    :param outcome: filled while the job runs, so that a caller still has it when this raises.
    :param now: the run's instant; the database's clock when not given.
    :raises CpOpsError: when the run could not start, stopped, or left failed rows; the outcome is recorded before.
    """
    # The caller's outcome is filled in place, as it is reported also where this function raises.
    outcome = outcome or Outcome(job.command, options.dry_run)
    started = time.monotonic()
    try:
        with closing(connect()) as connection, ended_when_interrupted(connection):
            tx = Transaction(connection, "runtime", outcome)
            session = inspect(tx, job.command, (*RUNTIME_NEEDS, *job.needs))
            _require_schema(tx, job.command)
            lease = _acquire(tx, _beginning(job, options, identity), outcome, connect=connect, ttl=lease_ttl)
            run = JobRun(
                job=job,
                connection=connection,
                lease=lease,
                session=session,
                settings=settings,
                outcome=outcome,
                now=now or session.now,
                on_progress=on_progress,
            )
            _run(job, run, options, tx, lease, started)
    except Exception as error:
        # An error of the package says all there is. Any other is logged with its traceback, unless that may hold values
        # of rows, and leaves as the package's error that it means.
        meaning = translate(error, doing=job.command)
        outcome.error = outcome.error or str(meaning)
        if meaning is error:
            raise
        log.exception("%s stopped", job.command, exc_info=None if _may_hold_values(error) else error)
        raise meaning from None
    except BaseException as interruption:
        # A task's timeout is no Exception. It must reach Airflow as it is.
        outcome.error = outcome.error or str(translate(interruption, doing=job.command))
        raise
    finally:
        outcome.elapsed = time.monotonic() - started
    # Last, when everything is recorded: failed rows fail the task, and did not keep the others from being done.
    outcome.raise_for_failures()
    return outcome


def _run(
    job: Job[Any], run: JobRun, options: JobOptions, tx: Transaction, lease: Lease, started: float
) -> None:
    lease.start_heartbeat()
    # The failure is raised outside of the except clause: what goes wrong while it is recorded must not become its context.
    failure: BaseException | None = None
    try:
        try:
            job.run(run, options)
        finally:
            lease.stop_heartbeat()
            run.outcome.elapsed = time.monotonic() - started
        _finish(tx, lease, run.outcome, RunState.FAILED if run.outcome.failed else RunState.SUCCESS)
    except BaseException as error:  # noqa: BLE001 - raised again below, when it is recorded
        failure = error
    if failure is not None:
        run.outcome.error = str(translate(failure, doing=job.command))
        _finish_failed(tx, lease, run.outcome)
        raise failure


def _finish(tx: Transaction, lease: Lease, outcome: Outcome, state: RunState) -> None:
    if tx.connection.broken:
        log.error("%s: connection lost, the run's record stays open until its lease expires", outcome.command)
        return
    finished = tx.execute(
        "finish_run",
        fence=lease.fence,
        state=state.value,
        outcome=Jsonb(outcome.as_dict()),
        plan_sha256=outcome.plan_sha256,
        error=outcome.error,
    )
    # The row is no longer running: somebody took the lease. A failed run fails anyway, a successful one must say so.
    if not finished and state is RunState.SUCCESS:
        raise LeaseLostError(
            f"{outcome.command}: another run took over before this one could record its outcome"
        )


def _finish_failed(tx: Transaction, lease: Lease, outcome: Outcome) -> None:
    """Record a failure. This never raises, as the failure itself is what the task must end with.

    Where a statement was interrupted the connection is gone. Then the lease is given back over another one, but not
    before the server has ended the transaction that held the fence.
    """
    end_interrupted(tx.connection)
    try:
        if not tx.connection.closed or tx.connection.broken:
            _finish(tx, lease, outcome, RunState.FAILED)
            return
        with closing(lease.connect()) as connection, transaction(connection):
            other = Transaction(connection, "runtime", outcome)
            other.rows("wait_at_most", seconds=FENCE_SECONDS)
            other.rows("wait_for_fence", fence=lease.fence)
            _finish(other, lease, outcome, RunState.FAILED)
    except Exception as error:  # noqa: BLE001 - see above
        log.error(  # noqa: TRY400 - a driver's traceback may hold values
            "%s: the run's record stays open until its lease expires: %s",
            outcome.command,
            translate(error, doing=outcome.command),
        )


def _acquire(
    tx: Transaction,
    beginning: dict[str, Any],
    outcome: Outcome,
    *,
    connect: Callable[[], psycopg.Connection[Any]],
    ttl: int,
) -> Lease:
    try:
        return acquire(tx, beginning, connect=connect, ttl=ttl)
    except (AlreadyRunningError, EarlierAttemptRunningError) as error:
        state = RunState.FAILED
        if isinstance(error, AlreadyRunningError):
            state = RunState.SKIPPED
            outcome.skip(ALREADY_RUNNING)
        else:
            outcome.error = str(error)
        kept = {"state": state.value, "outcome": Jsonb(outcome.as_dict()), "error": str(error)}
        tx.rows("record_refused_run", **beginning, **kept)
        raise


def _beginning(job: Job[Any], options: JobOptions, identity: Identity) -> dict[str, Any]:
    """Give what a run's row holds from the start."""
    return {
        "command": job.command,
        "scope": job.scope(options),
        "dry_run": options.dry_run,
        "holder": identity.holder,
        "attempt": identity.attempt,
        "requested_by": identity.requested_by,
        "options": Jsonb(options.recorded()),
    }


def _require_schema(tx: Transaction, command: str) -> None:
    try:
        row = tx.one("schema_version")
    except Exception as error:  # noqa: BLE001 - a missing schema, whatever the driver calls it
        raise PreflightError(
            f"{command}: schema cp_ops is not there or not readable ({error}); trigger cp_ops_migrate once"
        ) from None
    version = row["version_num"] if row else "none"
    if version != HEAD:
        raise PreflightError(
            f"{command}: schema cp_ops is at version {version}, this package needs {HEAD}; trigger cp_ops_migrate once"
        )


def _may_hold_values(error: BaseException) -> bool:
    """Tell whether an exception's message may hold row values: a driver's or a validator's may, a bug's may not."""
    return type(error).__module__.split(".")[0] in (
        "psycopg",
        "pydantic",
        "pydantic_core",
        "botocore",
        "smtplib",
    )
