"""How long generate_package_invoices takes for many engagements: plan and insert, in set-based statements.

    python benchmarks/package_invoices.py [ENGAGEMENTS]

Starts a PostgreSQL of its own, fills it, runs the job dry, for real and again, and prints one line for each.
Fails when the real run takes longer than the bar: 60 seconds for 100,000 engagements.
"""

from __future__ import annotations

import resource
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]

from cp_ops.finance.packages.job import BATCH, GeneratePackageInvoices  # noqa: E402
from cp_ops.runtime.lease import Identity  # noqa: E402
from cp_ops.runtime.runner import run_job  # noqa: E402
from cp_ops.runtime.settings import Settings  # noqa: E402
from sandbox import application  # noqa: E402
from sandbox.services.postgres import PostgresServer  # noqa: E402
from sandbox.world.builder import World  # noqa: E402

if TYPE_CHECKING:
    from cp_ops.runtime.outcome import Outcome

FIRMS = 10
SECONDS_PER_100_000 = 60.0


def fill(dsn: str, engagements: int) -> None:
    """Write firms with a client per 20 engagements."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        world = World(connection, seed=1)
        for _ in range(FIRMS):
            firm = world.firm()
            per_firm = engagements // FIRMS
            clients = [firm.client(autopay=number % 2 == 0) for number in range(per_firm // 20)]
            contracts = [client.contract() for client in clients]
            world.copy(
                "clients_engagement",
                (
                    {
                        "firm_id": firm.id,
                        "client_id": clients[number // 20].id,
                        "contract_id": contracts[number // 20],
                        "version": number % 20 + 1,
                        "package_fee": "1000.00",
                        "package_fee_schedule": ("monthly", "quarterly", "annual", "one-time")[number % 4],
                        "start_date": firm.day(-200),
                        "end_date": firm.day(200),
                        "contracted_value": "12000.00",
                    }
                    for number in range(per_firm)
                ),
            )
        connection.execute("ANALYZE")


def measure(dsn: str, label: str, *, dry_run: bool) -> Outcome:
    """Run the job once and print what it took."""
    job = GeneratePackageInvoices()
    outcome = run_job(
        job,
        job.options.parse({"dry_run": dry_run}),
        connect=lambda: psycopg.connect(dsn, autocommit=True),
        settings=Settings(package_invoices_max=10_000_000),
        identity=Identity(f"benchmark/{label}/run"),
    )
    rate = outcome.planned / outcome.elapsed if outcome.planned else 0
    print(
        f"{label:<8} planned={outcome.planned} done={outcome.done} skipped={outcome.skipped} "
        f"statements={outcome.statements} elapsed={outcome.elapsed:.1f}s rate={rate:,.0f}/s"
    )
    return outcome


def main(arguments: list[str]) -> int:
    """Run the benchmark; 1 when the bar was missed."""
    engagements = int(arguments[0]) if arguments else 100_000
    passwords = {role: secrets.token_urlsafe(16) for role in application.ROLES}
    with tempfile.TemporaryDirectory(prefix="cp-ops-benchmark-") as directory:
        server = PostgresServer(Path(directory) / "postgres", durable=True, dies_with_parent=True)
        server.start()
        try:
            application.create_roles(server, passwords)
            database = application.create_application_database(server, "benchmark", passwords)
            fill(database.owner_dsn, engagements)
            print(f"{engagements} engagements, {FIRMS} firms, {BATCH} invoices per statement")
            measure(database.cp_ops_dsn, "dry run", dry_run=True)
            real = measure(database.cp_ops_dsn, "real run", dry_run=False)
            measure(database.cp_ops_dsn, "again", dry_run=False)
        finally:
            server.remove()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bar = SECONDS_PER_100_000 * engagements / 100_000
    print(f"peak memory of this process {peak:.0f} MB; bar {bar:.0f}s, taken {real.elapsed:.1f}s")
    return 0 if real.done == engagements and real.elapsed <= bar else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
