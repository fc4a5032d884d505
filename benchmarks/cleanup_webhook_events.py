"""cleanup_webhook_events over many events, beside one DELETE and beside row by row, in one run.

    PYTHONPATH=plugins:. python benchmarks/cleanup_webhook_events.py [events, default 1000000]

Three databases with the same events (9 in 10 old and processed, 1 in 50 old and failed, in 20 firms). The job's bar is
10,000,000 events in under 4 minutes. What counts beside the time is how long the application waits for a statement: the
job's longest batch, against the one DELETE's whole duration. Row by row is measured on 2,000 events and scaled.
"""

from __future__ import annotations

import resource
import secrets
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from cp_ops.privacy.webhook_cleanup.job import CleanupWebhookEvents
from cp_ops.runtime.database import Transaction
from cp_ops.runtime.lease import Identity
from cp_ops.runtime.runner import run_job
from cp_ops.runtime.settings import Settings
from sandbox import application
from sandbox.services.postgres import PostgresServer
from sandbox.world.builder import World

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRMS = 20
SAMPLE = 2_000
OLD = "processed_at < now() - interval '180 days' AND processed_successfully"
FILL = """
    INSERT INTO finance_stripe_webhook_events
        (firm_id, stripe_event_id, event_type, processed_at, processed_successfully, error_message, event_data, created_at,
         updated_at)
    SELECT 1 + n %% %(firms)s, 'evt_' || n, 'invoice.paid', at, n %% 50 <> 0, '', '{"object": "event"}', at, at
    FROM (SELECT n, now() - interval '1 minute' * CASE WHEN n %% 10 = 0 THEN n %% 100000 ELSE 300000 + n %% 200000 END AS at
          FROM generate_series(1, %(events)s) AS n) AS event
"""


def fill(dsn: str, events: int) -> None:
    """Make the firms and their events."""
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as owner:
        world = World(owner, seed=1)
        for _ in range(FIRMS):
            world.firm()
        owner.execute(FILL, {"firms": FIRMS, "events": events})
        owner.execute("VACUUM ANALYZE")


@contextmanager
def timed_statements(durations: list[float]) -> Iterator[None]:
    """Note how long each deleting statement of the job takes."""
    rows = Transaction.rows

    def timed(self: Transaction, name: str, *args: Any, **params: Any) -> Any:
        start = time.perf_counter()
        try:
            return rows(self, name, *args, **params)
        finally:
            if name.startswith("delete_"):
                durations.append(time.perf_counter() - start)

    Transaction.rows = timed  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        Transaction.rows = rows  # type: ignore[method-assign]


def by_job(dsn: str) -> tuple[int, float, list[float]]:
    """Run the job; events deleted, seconds, and the seconds of each batch."""
    durations: list[float] = []
    start = time.perf_counter()
    with timed_statements(durations):
        outcome = run_job(
            CleanupWebhookEvents(),
            CleanupWebhookEvents.options.parse({}),
            connect=lambda: psycopg.connect(dsn, autocommit=True),
            settings=Settings(),
            identity=Identity("benchmark"),
        )
    return outcome.done, time.perf_counter() - start, durations


def by_one_delete(dsn: str) -> tuple[int, float]:
    """Delete in one statement, which holds all its locks until it ends."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        start = time.perf_counter()
        deleted = connection.execute(f"DELETE FROM finance_stripe_webhook_events WHERE {OLD}").rowcount
        return deleted, time.perf_counter() - start


def row_by_row(dsn: str) -> float:
    """Delete a sample one by one, as an ORM's loop does; events a second."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        ids = connection.execute(
            f"SELECT id FROM finance_stripe_webhook_events WHERE {OLD} LIMIT {SAMPLE}"
        ).fetchall()
        start = time.perf_counter()
        for (event,) in ids:
            connection.execute("DELETE FROM finance_stripe_webhook_events WHERE id = %s", (event,))
        return len(ids) / (time.perf_counter() - start)


def main(events: int) -> None:
    """Fill, measure the three, print."""
    passwords = {role: secrets.token_urlsafe() for role in application.ROLES}
    with tempfile.TemporaryDirectory() as folder:
        server = PostgresServer(Path(folder) / "postgres", dies_with_parent=True)
        server.start()
        try:
            application.create_roles(server, passwords)
            template = application.create_application_database(server, "filled", passwords)
            fill(template.owner_dsn, events)
            job, one, single = (
                application.create_application_database(server, name, passwords, template="filled")
                for name in ("job", "one", "single")
            )
            deleted, seconds, batches = by_job(job.cp_ops_dsn)
            one_deleted, one_seconds = by_one_delete(one.owner_dsn)
            rate = row_by_row(single.owner_dsn)
        finally:
            server.remove()
    batches.sort()
    p99 = batches[int(len(batches) * 0.99) - 1]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"events {events:,}, old and processed {deleted:,} (one DELETE: {one_deleted:,}); memory {memory:.0f} MB"
    )
    print(
        f"job        {seconds:8.1f} s  {deleted / seconds:9,.0f} a second; {len(batches)} batches, median "
        f"{batches[len(batches) // 2] * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, longest {batches[-1] * 1000:.0f} ms"
    )
    print(
        f"one DELETE {one_seconds:8.1f} s  {one_deleted / one_seconds:9,.0f} a second; holds every lock for all of it"
    )
    print(f"row by row {deleted / rate:8.1f} s  {rate:9,.0f} a second (scaled)")
    print(f"job / one DELETE: {seconds / one_seconds:.2f}; job / row by row: {seconds * rate / deleted:.4f}")
    print(f"10,000,000 events at the job's pace: {10_000_000 * 0.9 / (deleted / seconds):.0f} s; bar 240 s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
