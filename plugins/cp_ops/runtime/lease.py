"""The lease: the row of `cp_ops.job_run` that says who runs a command now.

A run's row is its lease while its state is ``running``: a partial unique index allows one per (command, scope). Its id
is the fence. Every writing transaction locks it FOR KEY SHARE, which the heartbeat's UPDATE does not wait for but a
takeover (FOR UPDATE) does: no other run can take over while a transaction of this one is open, and none of this one can
start after another took over.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.database import Transaction, transaction
from cp_ops.runtime.errors import AlreadyRunningError, EarlierAttemptRunningError, LeaseLostError
from cp_ops.runtime.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import psycopg

log = logging.getLogger(__name__)

TTL = 60
"""Seconds after the last heartbeat until another run may take over. Longer than any silent stretch of a live run."""
BEAT = 10
"""Seconds between heartbeats."""
RECHECK = 2
"""Seconds between looks at a lease that an earlier attempt of the same task holds."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who runs: the Airflow task instance, and who asked for it.

    :param holder: the same for every attempt of one task, such as ``dag/run/task``.
    :param attempt: the attempt's number, from 1.
    """

    holder: str
    attempt: int = 1
    requested_by: str = ""


@dataclass
class Lease:
    """A held lease.

    :ivar fence: the run's id, which every writing transaction checks.
    """

    command: str
    fence: int
    connect: Callable[[], psycopg.Connection[Any]]
    ttl: int = TTL
    _lost: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def check(self, tx: Transaction) -> None:
        """Lock the run's row for this transaction.

        :raises LeaseLostError: when another run has taken over.
        """
        if self._lost.is_set() or tx.one("runtime/hold_fence", fence=self.fence) is None:
            raise LeaseLostError(
                f"{self.command}: run {self.fence} lost its lease to another run and must not write any more"
            )

    def start_heartbeat(self) -> None:
        """Beat in the background, over a connection of its own that is opened with the first beat."""
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{self.fence}", daemon=True)
        self._thread.start()

    def stop_heartbeat(self) -> None:
        """End the heartbeat, and wait until it has ended."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _beat(self) -> None:
        connection: psycopg.Connection[Any] | None = None
        last = time.monotonic()
        interval = min(BEAT, self.ttl / 4)
        while not self._stop.wait(interval):
            try:
                connection = connection or self.connect()
                tx = Transaction(connection, "runtime", Outcome(self.command, dry_run=False))
                if tx.execute("heartbeat", fence=self.fence, ttl=self.ttl) == 0:
                    self._lost.set()
                    break
                last = time.monotonic()
            except Exception as error:  # noqa: BLE001 - the job notices by its own next statement
                log.warning("heartbeat of %s failed: %s", self.command, type(error).__name__)
                connection = None
                # Only after a whole lease without a beat may somebody else have taken over. Until then a lost
                # connection to the database is no reason to stop the job.
                if time.monotonic() - last > self.ttl:
                    self._lost.set()
                    break
        if connection is not None:
            connection.close()


def acquire(
    tx: Transaction,
    beginning: Mapping[str, Any],
    *,
    connect: Callable[[], psycopg.Connection[Any]],
    ttl: int = TTL,
    sleep: Callable[[float], None] = time.sleep,
) -> Lease:
    """Begin a run: take the lease of (command, scope), or find out who has it. A dry run takes none.

    When an earlier attempt of this same task still holds it, that attempt's worker was killed: wait until the lease
    has expired instead of assuming that the process is dead.

    :param beginning: what the run's row holds from the start: command, scope, dry_run, holder, attempt, requested_by,
        options.
    :raises AlreadyRunningError: naming the run of somebody else that holds the lease.
    :raises EarlierAttemptRunningError: when that earlier attempt is alive after all.
    """
    command, key = beginning["command"], {name: beginning[name] for name in ("command", "scope")}
    waited = 0.0
    while True:
        with transaction(tx.connection):
            # A preview takes no lease, so it has nobody to replace.
            if not beginning["dry_run"]:
                tx.execute("abandon_expired_runs", **key)
            row = tx.one("begin_run", **beginning, ttl=ttl)
        if row is not None:
            return Lease(command, row["id"], connect, ttl=ttl)
        other = tx.one("running_run", **key)
        if other is None:
            # The holder ended between the two statements: the lease is free, ask again.
            continue
        since = f"since {other['started_at']:%H:%M:%S} UTC"
        if other["holder"] != beginning["holder"]:
            raise AlreadyRunningError(f"already running: {command} is being run by {other['holder']} {since}")
        # A dead attempt's lease has expired by now. One that is still held is being renewed, so the attempt lives.
        if waited > ttl + BEAT:
            raise EarlierAttemptRunningError(
                f"{command}: attempt {other['attempt']} of this task still runs, {since}; nothing was done. "
                "Wait for it, or end its process, then run this task again"
            )
        log.info("%s: an earlier attempt of this task holds the lease; waiting until it expires", command)
        sleep(RECHECK)
        waited += RECHECK
