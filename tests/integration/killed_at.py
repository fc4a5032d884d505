"""Run a job in a child process that is killed (SIGKILL) just before its n-th exchange with the database."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from cp_ops.runtime.job import JobRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cp_ops.runtime.database import Tenant, Transaction


def run_killed(run: Callable[[], Any], *, before: int, writing: bool = False) -> bool:
    """Fork, run, and kill the child before its n-th exchange (statement, BEGIN, COMMIT); False when it got through.

    :param writing: count only the exchanges of writing transactions, from their fence to their COMMIT.
    """
    pid = os.fork()
    if pid == 0:
        _count_down(before, writing=writing)
        try:
            run()
        except BaseException:  # noqa: BLE001 - the child must never return into pytest
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the job failed in the child"
    return False


def _count_down(exchanges: int, *, writing: bool) -> None:
    left = exchanges
    counted = not writing
    wait, write = psycopg.Connection.wait, JobRun.write

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= counted
        if left == 0 and counted:
            os.kill(os.getpid(), signal.SIGKILL)
        return wait(self, *args, **kwargs)

    @contextmanager
    def marking(self: JobRun, tenant: Tenant | None = None) -> Iterator[Transaction]:
        nonlocal counted
        counted = True
        with write(self, tenant) as tx:
            yield tx
        counted = not writing

    psycopg.Connection.wait = counting  # type: ignore[method-assign]
    JobRun.write = marking  # type: ignore[method-assign]


def let_leases_expire(db: psycopg.Connection[Any]) -> None:
    """Stand in for the minute until a killed run's lease has expired, once the server has noticed its end."""
    deadline = time.monotonic() + 10
    while db.execute(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND state <> 'idle')"
    ).fetchone()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    db.execute("UPDATE cp_ops.job_run SET expires_at = now() WHERE state = 'running'")
