"""Export a user with a million rows: seconds, rows a second, peak memory of the exporting process.

    PYTHONPATH=plugins:. python benchmarks/export_user_data.py [rows]

Bars: a million rows in under 30 seconds at under 256 MB.
"""

from __future__ import annotations

import json
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from sandbox import application
from sandbox.services.postgres import PostgresServer
from sandbox.world.builder import World

BAR_SECONDS, BAR_MB = 30, 256

FILL = {
    "projects_time_entries": """
        INSERT INTO projects_time_entries (project_id, user_id, date, hours, description, is_billable, hourly_rate,
            billed_amount, approved, approved_at, invoiced, created_at, updated_at)
        SELECT %(project)s, CASE WHEN n %% 10 = 0 THEN %(other)s ELSE %(user)s END, date '2020-01-01' + (n %% 2000)::int,
               1.5, 'Prepared the workshop, wrote up its results and sent them round, part ' || n, true, 150, 225, true,
               now(), false, now(), now()
        FROM generate_series(1, %(rows)s * 4 / 9) AS n""",
    "documents_access_logs": """
        INSERT INTO documents_access_logs (firm_id, actor_user_id, actor_type, action, correlation_id, timestamp,
            ip_address, user_agent, metadata)
        SELECT %(firm)s, CASE WHEN n %% 10 = 0 THEN %(other)s ELSE %(user)s END, 'staff', 'download', md5(n::text),
               now() - n * interval '1 minute', '192.0.2.1',
               'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)', '{"source": "portal"}'
        FROM generate_series(1, %(rows)s * 3 / 9) AS n""",
    "firm_audit_events": """
        INSERT INTO firm_audit_events (firm_id, category, action, severity, actor_id, actor_email, actor_role,
            target_model, target_id, target_repr, timestamp, reason, outcome, metadata, user_agent, request_id,
            review_notes)
        SELECT %(firm)s, 'SYSTEM', 'client.updated', 'INFO', CASE WHEN n %% 10 = 0 THEN %(other)s ELSE %(user)s END,
               'ada@firm.example', 'staff', 'clients.Client', n::text, 'Client ' || n, now() - n * interval '1 minute',
               '', 'success', '{"fields": ["notes", "city"]}', 'Mozilla/5.0', md5(n::text), ''
        FROM generate_series(1, %(rows)s * 3 / 9 + %(rows)s / 9) AS n""",
}


def fill(dsn: str, rows: int) -> int:
    """Make one user's rows, and a tenth as many of a colleague; gives the user's id."""
    with psycopg.connect(dsn, autocommit=True) as owner:
        world = World(owner, seed=1)
        firm = world.firm()
        user, other = firm.user("Ada"), firm.user("Otto")
        project = firm.client().project()
        ids = {"firm": firm.id, "user": user.id, "other": other.id, "project": project.id, "rows": rows}
        for statement in FILL.values():
            owner.execute(statement, ids)
        owner.execute("VACUUM ANALYZE")
    return user.id


def export(dsn: str, user_id: int, folder: str) -> None:
    """Export in this process and print what it took."""
    from cp_ops.privacy.export.job import ExportUserData
    from cp_ops.runtime.lease import Identity
    from cp_ops.runtime.runner import run_job
    from cp_ops.runtime.settings import Settings

    class NoStore:
        calls = 0

    job = ExportUserData(NoStore())  # type: ignore[arg-type]
    started = time.perf_counter()
    outcome = run_job(
        job,
        job.options.parse({"user_id": user_id, "output_dir": folder}),
        connect=lambda: psycopg.connect(dsn, autocommit=True),
        settings=Settings(),
        identity=Identity("benchmark"),
    )
    took = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {"rows": outcome.done, "seconds": took, "mb": peak, "bytes": outcome.numbers["archive_bytes"]}
        )
    )


def main(rows: int) -> int:
    """Measure on a server of its own; 1 when a bar is missed."""
    passwords = {role: secrets.token_urlsafe(16) for role in (*application.ROLES, "airflow")}
    with tempfile.TemporaryDirectory() as scratch:
        server = PostgresServer(Path(scratch) / "pg", dies_with_parent=True)
        server.start()
        try:
            application.create_roles(server, passwords)
            database = application.create_application_database(server, "bench", passwords)
            user_id = fill(database.owner_dsn, rows)
            answer = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "--export",
                    database.cp_ops_dsn,
                    str(user_id),
                    f"{scratch}/exports",
                ],
                check=True,
                capture_output=True,
                text=True,
            )
        finally:
            server.remove()
    took = json.loads(answer.stdout.splitlines()[-1])
    print(
        f"export_user_data: {took['rows']:,} rows in {took['seconds']:.1f} s "
        f"({took['rows'] / took['seconds']:,.0f} rows/s), peak {took['mb']:.0f} MB, "
        f"archive {took['bytes'] / 1e6:.1f} MB; bars: {BAR_SECONDS} s per million rows, {BAR_MB} MB"
    )
    return int(took["seconds"] > BAR_SECONDS * rows / 1e6 or took["mb"] > BAR_MB)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--export"]:
        export(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
