"""Retention of many rows: rows a second and how long a batch holds its locks (median, 99th percentile).

    PYTHONPATH=plugins:. python benchmarks/execute_retention_policies.py [rows]

Bar: 99 of 100 batches hold their locks for less than 100 ms. Audit events (no children, batches of 2,500), support
tickets with two comments each (children, batches of 1,000) and time entries that are anonymised.
"""

from __future__ import annotations

import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from cp_ops.privacy.retention import rows as retention_rows
from cp_ops.privacy.retention.job import ExecuteRetentionPolicies
from cp_ops.runtime.lease import Identity
from cp_ops.runtime.runner import run_job
from cp_ops.runtime.settings import Settings
from sandbox import application
from sandbox.services.postgres import PostgresServer
from sandbox.world.builder import World

BAR_MS = 100

FILL = """
    INSERT INTO firm_audit_events (firm_id, category, action, severity, actor_email, actor_role, target_model, target_id,
        target_repr, timestamp, reason, outcome, metadata, user_agent, request_id, review_notes)
    SELECT %(firm)s, 'SYSTEM', 'client.updated', 'INFO', 'a@x.example', 'staff', 'clients.Client', n::text, '',
           now() - interval '8 years' - n * interval '1 minute', '', 'success', '{}', '', '', ''
    FROM generate_series(1, %(rows)s) AS n;
    INSERT INTO support_tickets (firm_id, client_id, ticket_number, subject, description, status, priority, channel,
        contact_name, contact_email, closed_at, created_at, updated_at)
    SELECT %(firm)s, %(client)s, 'B-' || n, 'subject', 'description', 'closed', 'low', 'email', 'name', 'a@x.example',
           now() - interval '400 days' - n * interval '1 second', now(), now()
    FROM generate_series(1, %(rows)s / 5) AS n;
    INSERT INTO support_ticket_comments (ticket_id, comment, is_internal, is_customer, customer_email, created_at)
    SELECT id, 'comment', false, true, 'a@x.example', now() FROM support_tickets, generate_series(1, 2);
    INSERT INTO projects_time_entries (project_id, user_id, date, hours, description, is_billable, hourly_rate,
        billed_amount, approved, invoiced, created_at, updated_at)
    SELECT %(project)s, %(user)s, current_date - 500 - (n %% 900)::int, 1, 'worked', true, 1, 1, true, false, now(), now()
    FROM generate_series(1, %(rows)s / 2) AS n;
"""


class NoObjects:
    """The benchmark deletes no documents."""

    calls = 0

    def delete_versions(self, bucket: str, keys: object) -> int:
        """Never called."""
        raise NotImplementedError


def fill(dsn: str, rows: int) -> None:
    """Make the rows and their policies."""
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as owner:
        world = World(owner, seed=1)
        firm = world.firm()
        firm.retention_policy("audit_logs", 30)
        firm.retention_policy("support_tickets", 30)
        firm.retention_policy("time_entries", 30, action="anonymize")
        client = firm.client()
        ids = {"firm": firm.id, "client": client.id, "project": client.project().id, "user": firm.user().id}
        owner.execute(FILL, {**ids, "rows": rows})
        owner.execute("VACUUM ANALYZE")


def measure(dsn: str) -> dict[str, list[tuple[float, int]]]:
    """Run the job; per table the seconds from the first lock of a batch to its last statement, and its rows."""
    batches: dict[str, list[tuple[float, int]]] = {}
    settle = retention_rows.PolicyRows.settle

    def timed(self: retention_rows.PolicyRows, tx: Any, candidates: Any) -> int:
        started = time.perf_counter()
        done = settle(self, tx, candidates)
        batches.setdefault(self.name, []).append((time.perf_counter() - started, done))
        return done

    retention_rows.PolicyRows.settle = timed  # type: ignore[method-assign]
    job = ExecuteRetentionPolicies(NoObjects(), lambda: None)  # type: ignore[arg-type,return-value]
    outcome = run_job(
        job,
        job.options.parse({}),
        connect=lambda: psycopg.connect(dsn, autocommit=True),
        settings=Settings(),
        identity=Identity("benchmark"),
    )
    print(outcome.line())
    return batches


def main(rows: int) -> int:
    """Measure on a server of its own; 1 when the bar is missed."""
    passwords = {role: secrets.token_urlsafe(16) for role in (*application.ROLES, "airflow")}
    with tempfile.TemporaryDirectory() as scratch:
        server = PostgresServer(Path(scratch) / "pg", dies_with_parent=True)
        server.start()
        try:
            application.create_roles(server, passwords)
            database = application.create_application_database(server, "bench", passwords)
            fill(database.owner_dsn, rows)
            batches = measure(database.cp_ops_dsn)
        finally:
            server.remove()
    missed = False
    for name, timings in batches.items():
        seconds = [took for took, _ in timings]
        done = sum(count for _, count in timings)
        p99 = statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else seconds[0]
        missed |= p99 * 1000 > BAR_MS
        print(
            f"{name}: {done:,} rows in {len(seconds)} batches, {done / sum(seconds):,.0f} rows/s, "
            f"batch median {statistics.median(seconds) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms (bar {BAR_MS} ms)"
        )
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000))
