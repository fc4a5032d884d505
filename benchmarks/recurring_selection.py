"""How long process_recurring_charges takes to find 1,000 due invoices among a million, and which index does it.

    python benchmarks/recurring_selection.py [INVOICES]

Starts a PostgreSQL of its own, fills it, and runs the job dry: nothing is called. Prints the statement's plan with and
without the application's index on (firm_id, status). Fails when the selection takes a second or more.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]

from cp_ops.finance.charges.job import ProcessRecurringCharges  # noqa: E402
from cp_ops.finance.charges.plan import OPEN_STATUSES  # noqa: E402
from cp_ops.hooks.rate_limit import CallLimiter  # noqa: E402
from cp_ops.hooks.stripe_client import StripeApi  # noqa: E402
from cp_ops.runtime.lease import Identity  # noqa: E402
from cp_ops.runtime.runner import run_job  # noqa: E402
from cp_ops.runtime.settings import Settings  # noqa: E402
from cp_ops.runtime.statements import statements  # noqa: E402
from sandbox import application  # noqa: E402
from sandbox.services.postgres import PostgresServer  # noqa: E402
from sandbox.world.builder import World  # noqa: E402

FIRMS, DUE, SECONDS = 10, 1_000, 1.0


def fill(dsn: str, invoices: int) -> None:
    """Write firms whose invoices are mostly paid; one in fifty is open without autopay, 1,000 in all are due."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        world = World(connection, seed=1)
        for _ in range(FIRMS):
            firm = world.firm(timezone="UTC")
            client = firm.client(autopay=True)
            per_firm, due = invoices // FIRMS, DUE // FIRMS
            world.copy(
                "finance_invoices",
                (
                    {
                        "firm_id": firm.id,
                        "client_id": client.id,
                        "invoice_number": f"B-{number}",
                        "status": "sent" if number < due or number % 50 == 0 else "paid",
                        "subtotal": "100.00",
                        "total_amount": "100.00",
                        "amount_paid": "0.00" if number < due or number % 50 == 0 else "100.00",
                        "issue_date": firm.day(-31),
                        "due_date": firm.day(-1),
                        "autopay_opt_in": number < due,
                    }
                    for number in range(per_firm)
                ),
            )
        connection.execute("ANALYZE")


def select(dsn: str) -> tuple[float, str]:
    """Give the seconds that the selection takes, and the way it goes through the invoices."""
    statement = statements("finance/charges")["charge_candidates"].text
    with psycopg.connect(dsn, autocommit=True) as connection:
        firm_ids = [row[0] for row in connection.execute("SELECT id FROM firm_firm")]
        now = connection.execute("SELECT now()").fetchone()
        params: dict[str, Any] = {
            "firm_ids": firm_ids,
            "open_statuses": list(OPEN_STATUSES),
            "now": now[0] if now else None,
        }
        started = time.perf_counter()
        found = len(connection.execute(statement.encode(), params).fetchall())
        elapsed = time.perf_counter() - started
        plan = connection.execute(f"EXPLAIN {statement}".encode(), params).fetchall()
    assert found == DUE
    return elapsed, next(line.strip(" ->") for (line,) in plan if "finance_invoices" in line)


def main() -> int:
    """Run the benchmark."""
    invoices = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as directory:
        server = PostgresServer(Path(directory), dies_with_parent=True)
        server.start()
        try:
            passwords = {role: secrets.token_urlsafe(12) for role in application.ROLES}
            application.create_roles(server, passwords)
            database = application.create_application_database(server, "benchmark", passwords)
            fill(database.owner_dsn, invoices)
            return measure(database)
        finally:
            server.stop()


def measure(database: application.ApplicationDatabase) -> int:
    """Select with the index, run the job dry, select without."""
    elapsed, way = select(database.cp_ops_dsn)
    print(f"indexed  due={DUE} elapsed={elapsed:.3f}s {way}")
    stripe = StripeApi("sk_test_unused", limiter=CallLimiter(0), base_url="http://127.0.0.1:1")
    job = ProcessRecurringCharges(stripe)
    outcome = run_job(
        job,
        job.options.parse({"dry_run": True}),
        connect=lambda: psycopg.connect(database.cp_ops_dsn, autocommit=True),
        settings=Settings(frontend_url="https://app.example.test", default_from_email="billing@example.test"),
        identity=Identity("benchmark/charges/run"),
    )
    print(
        f"dry run  planned={outcome.planned} statements={outcome.statements} elapsed={outcome.elapsed:.2f}s"
    )
    with psycopg.connect(database.owner_dsn, autocommit=True) as owner:
        names = owner.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename = 'finance_invoices' AND indexdef LIKE '%(firm_id, %'"
        ).fetchall()
        for (name,) in names:
            if "uniq" not in name:
                owner.execute(f'ALTER TABLE finance_invoices DROP CONSTRAINT IF EXISTS "{name}"'.encode())
                owner.execute(f'DROP INDEX IF EXISTS "{name}"'.encode())
    without, way = select(database.cp_ops_dsn)
    print(f"without  due={DUE} elapsed={without:.3f}s {way}")
    met = elapsed < SECONDS and outcome.planned == DUE
    print(f"{'ok' if met else 'MISSED':<8} {DUE} due in under {SECONDS:g} s")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
