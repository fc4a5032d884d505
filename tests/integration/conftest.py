"""Run jobs against a real database, without Airflow."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cp_ops.runtime.lease import Identity
from cp_ops.runtime.outcome import Outcome
from cp_ops.runtime.runner import run_job
from cp_ops.runtime.settings import Settings
from sandbox.application import APPLICATION_SQL
from sandbox.world.builder import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from cp_ops.runtime.job import Job
    from sandbox.application import ApplicationDatabase

_runs = itertools.count(1)


@dataclass
class Runner:
    """Runs jobs as the scheduler would: each run under a name of its own, over the jobs' role."""

    dsn: str
    settings: Settings = field(default_factory=Settings)
    now: datetime | None = None
    lease_ttl: int = 60

    def connect(self) -> psycopg.Connection[Any]:
        """Open a connection as the hook does."""
        return psycopg.connect(self.dsn, autocommit=True)

    def __call__(
        self, job: Job[Any], *, holder: str | None = None, attempt: int = 1, **options: Any
    ) -> Outcome:
        """Run a job and give its outcome; raises what the job raises."""
        outcome = Outcome(job.command, dry_run=bool(options.get("dry_run", False)))
        self.last = outcome
        return run_job(
            job,
            job.options.parse(options),
            connect=self.connect,
            settings=self.settings,
            identity=Identity(holder or f"test/run-{next(_runs)}/task", attempt),
            outcome=outcome,
            now=self.now,
            lease_ttl=self.lease_ttl,
        )

    def with_settings(self, **settings: Any) -> Runner:
        """Give a runner with other settings."""
        return Runner(self.dsn, Settings(**settings), self.now, self.lease_ttl)

    def at(self, now: datetime) -> Runner:
        """Give a runner at another time."""
        return Runner(self.dsn, self.settings, now, self.lease_ttl)


@pytest.fixture
def runner(app_db: ApplicationDatabase) -> Runner:
    """Run jobs as role cp_ops, which bypasses row-level security."""
    return Runner(app_db.cp_ops_dsn)


@pytest.fixture
def world(owner: psycopg.Connection[Any]) -> World:
    """Fill the database as the application would."""
    return World(owner)


@pytest.fixture
def enable_row_level_security(
    owner: psycopg.Connection[Any], app_db: ApplicationDatabase
) -> Callable[[], Runner]:
    """Turn row-level security on, once the world is arranged; gives a runner whose role is subject to it."""

    def enable() -> Runner:
        owner.execute((APPLICATION_SQL / "optional_row_level_security.sql").read_text(encoding="utf-8"))
        return Runner(app_db.rls_dsn)

    return enable


@pytest.fixture
def owner(app_db: ApplicationDatabase) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the application's owner, to arrange and to look."""
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def written(owner: psycopg.Connection[Any], app_db: ApplicationDatabase) -> Callable[[], dict[str, int]]:
    """Rows written per table, from pg_stat_user_tables: call it before and after."""

    def count() -> dict[str, int]:
        with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_stat_clear_snapshot()")
            rows = connection.execute(
                "SELECT schemaname || '.' || relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables"
                " WHERE schemaname IN ('public', 'cp_ops')"
            ).fetchall()
        return dict(rows)

    return count
