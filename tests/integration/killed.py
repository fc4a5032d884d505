"""Run a job in a child process that dies at a chosen moment, as the OOM killer would have it: nothing is cleaned up.

Moments are counted in what the job did (its exchanges with the outside, its calls of a function), never in seconds: a
slow machine kills at the same places.
"""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import threading
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cp_ops.hooks.json_rpc import JsonRpc
from cp_ops.hooks.stripe_client import StripeApi
from cp_ops.runtime.job import JobRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Runner

EXCHANGES = ((psycopg.Connection, "wait"), (StripeApi, "_request"), (JsonRpc, "_post"))
"""Where a job waits for somebody else: a statement, BEGIN or COMMIT; a request to Stripe; one to the Solana node."""


def run_killed(
    run: Callable[[], Any], *, before: int, writing: bool = False, seconds_later: float = 0.0
) -> bool:
    """Fork, run, and kill the child before its n-th exchange; False when it got through.

    :param writing: count only the exchanges of writing transactions, from their fence to their COMMIT.
    :param seconds_later: let the exchange begin, and kill this long afterwards, whatever is under way then.
    """

    def told(number: int) -> None:
        if number == before:
            threading.Timer(seconds_later, _die).start() if seconds_later else _die()

    return _killed(run, lambda: _count(_Exchanges(told), setattr, writing=writing))


def run_killed_at(run: Callable[[], Any], at: str, *, call: int = 1, before: bool = False) -> bool:
    """Fork, run, and kill the child when `at` (``module:Class.method``) has been called for the n-th time.

    :param before: die instead of calling it.
    :return: False when the run ended without calling it as often.
    """

    def prepare() -> None:
        owner, name, original = _located(at)
        calls = itertools.count(1)

        def deadly(*args: Any, **kwargs: Any) -> Any:
            dies = next(calls) == call
            if dies and before:
                _die()
            answer = original(*args, **kwargs)
            if dies:
                _die()
            return answer

        setattr(owner, name, deadly)

    return _killed(run, prepare)


def exchanges(run: Callable[[], Any]) -> int:
    """Run it here, to its end, and tell how many exchanges it made."""
    seen = _Exchanges()
    with pytest.MonkeyPatch.context() as patch:
        _count(seen, patch.setattr)
        run()
    return seen.number


def let_leases_expire(runner: Runner) -> None:
    """Stand in for the minute until a killed run's lease has expired, once the server has noticed its end."""
    deadline = time.monotonic() + 10
    with runner.connect() as db:
        while db.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle')"
        ).fetchone()[0]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        db.execute(
            "UPDATE cp_ops.job_run SET expires_at = now() - interval '1 second' WHERE state = 'running'"
        )


class _Exchanges:
    """Counts exchanges, and tells of each."""

    number = 0

    def __init__(self, told: Callable[[int], None] = lambda _number: None) -> None:
        self._told = told

    def one_more(self) -> None:
        self.number += 1
        self._told(self.number)


def _count(seen: _Exchanges, replace: Callable[[Any, str, Any], None], *, writing: bool = False) -> None:
    """Count exchanges from here on."""
    counted = not writing
    write = JobRun.write

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def exchange(*args: Any, **kwargs: Any) -> Any:
            if counted:
                seen.one_more()
            return original(*args, **kwargs)

        return exchange

    @contextmanager
    def marking(self: JobRun, *args: Any, **kwargs: Any) -> Iterator[Any]:
        nonlocal counted
        counted = True
        with write(self, *args, **kwargs) as tx:
            yield tx
        counted = not writing

    for owner, name in EXCHANGES:
        replace(owner, name, counting(getattr(owner, name)))
    replace(JobRun, "write", marking)


def _killed(run: Callable[[], Any], prepare: Callable[[], None]) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            run()
        except BaseException:  # noqa: BLE001 - the child must never return into pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the job failed in the child"
    return False


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _located(path: str) -> tuple[Any, str, Any]:
    module, _, name = path.partition(":")
    found: Any = importlib.import_module(module)
    owner: Any = None
    for part in name.split("."):
        owner, found = found, getattr(found, part)
    return owner, name.rsplit(".", 1)[-1], found
