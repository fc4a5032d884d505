"""How reconcile_stripe scales: calls, wall time and memory, beside one retrieve per object at the same latency.

    python benchmarks/reconcile_stripe.py [INVOICES]

Starts a PostgreSQL and a local Stripe (20 ms latency, no rate limit) of its own, fills both, runs the job in full, then
retrieves a sample of the same objects one by one and extrapolates. Fails when the job made more list calls than
ceil(N/100) per kind of object, fetched anything singly, found anything, or used more than 200 MB.
"""

from __future__ import annotations

import math
import resource
import secrets
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]

from cp_ops.finance.reconciliation.job import ReconcileStripe  # noqa: E402
from cp_ops.hooks.rate_limit import CallLimiter  # noqa: E402
from cp_ops.hooks.stripe_client import StripeApi  # noqa: E402
from cp_ops.runtime.lease import Identity  # noqa: E402
from cp_ops.runtime.runner import run_job  # noqa: E402
from cp_ops.runtime.settings import Settings  # noqa: E402
from sandbox import application  # noqa: E402
from sandbox.services.postgres import PostgresServer  # noqa: E402
from sandbox.services.stripe import StripeServer  # noqa: E402
from sandbox.stripe_api import DEFAULT_KEY  # noqa: E402
from sandbox.world.builder import World  # noqa: E402

MEMORY_MB = 200
SAMPLE = 200
LATENCY = 0.020
SEEDED_AT_ONCE = 10_000


def fill(dsn: str, invoices: int) -> None:
    """Write paid invoices of one firm, each with a Stripe invoice and a payment intent."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        world = World(connection, seed=1)
        firm = world.firm(timezone="UTC")
        client = firm.client()
        world.copy(
            "finance_invoices",
            (
                {
                    "firm_id": firm.id,
                    "client_id": client.id,
                    "invoice_number": f"B-{number}",
                    "status": "paid",
                    "subtotal": "100.00",
                    "total_amount": "100.00",
                    "amount_paid": "100.00",
                    "issue_date": firm.day(),
                    "due_date": firm.day(),
                    "paid_date": firm.day(),
                    "stripe_invoice_id": f"in_b{number:07d}",
                    "stripe_payment_intent_id": f"pi_b{number:07d}",
                }
                for number in range(invoices)
            ),
        )
        connection.execute("ANALYZE")


def control(stripe: StripeServer, path: str, body: str) -> None:
    """Tell the local Stripe something."""
    request = urllib.request.Request(f"{stripe.url}/_sandbox/{path}", data=body.encode(), method="POST")  # noqa: S310
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310 - loopback
        answer.read()


def seed(stripe: StripeServer, invoices: int) -> None:
    """Give the local Stripe the same invoices."""
    now = int(datetime.now(UTC).timestamp())
    spec = (
        '{{"invoice": {{"id": "in_b{0:07d}", "amount": 10000, "status": "paid", "created": {1}, '
        '"payments": [{{"id": "pi_b{0:07d}", "amount": 10000}}]}}}}'
    )
    for start in range(0, invoices, SEEDED_AT_ONCE):
        numbers = range(start, min(start + SEEDED_AT_ONCE, invoices))
        control(stripe, "seed", "\n".join(spec.format(number, now) for number in numbers))
    control(stripe, "settings", f'{{"latency": {LATENCY}, "rate_limit": null}}')


def api(stripe: StripeServer) -> StripeApi:
    """Give the real client without a limit on calls."""
    return StripeApi(DEFAULT_KEY, limiter=CallLimiter(0), base_url=stripe.url)


def one_by_one(stripe: StripeServer) -> float:
    """Give the seconds per invoice when its two objects are retrieved."""
    client = api(stripe)
    started = time.perf_counter()
    for number in range(SAMPLE):
        client.get("invoices", f"in_b{number:07d}")
        client.get("payment_intents", f"pi_b{number:07d}")
    return (time.perf_counter() - started) / SAMPLE


def main() -> int:
    """Run the benchmark."""
    invoices = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as directory:
        postgres = PostgresServer(Path(directory) / "postgres", dies_with_parent=True)
        stripe = StripeServer(Path(directory) / "stripe", dies_with_parent=True)
        postgres.start()
        try:
            stripe.start()
            passwords = {role: secrets.token_urlsafe(12) for role in application.ROLES}
            application.create_roles(postgres, passwords)
            database = application.create_application_database(postgres, "benchmark", passwords)
            fill(database.owner_dsn, invoices)
            seed(stripe, invoices)
            return measure(database.cp_ops_dsn, stripe, invoices)
        finally:
            stripe.stop()
            postgres.stop()


def measure(dsn: str, stripe: StripeServer, invoices: int) -> int:
    """Run the job, then the other way, and compare."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    job = ReconcileStripe(api(stripe))
    outcome = run_job(
        job,
        job.options.parse({"full": True}),
        connect=lambda: psycopg.connect(dsn, autocommit=True),
        settings=Settings(),
        identity=Identity("benchmark/reconcile/run"),
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    singly = one_by_one(stripe) * invoices
    pages = math.ceil(invoices / 100)
    print(
        f"lists    invoices={outcome.numbers['matched']} calls={outcome.remote_calls} statements={outcome.statements} "
        f"elapsed={outcome.elapsed:.1f}s memory={memory:.0f}MB (before {before:.0f}MB)"
    )
    print(f"retrieve calls={2 * invoices} elapsed={singly:.1f}s (from a sample of {SAMPLE})")
    print(f"ratio    calls 1:{2 * invoices / outcome.remote_calls:.0f} time 1:{singly / outcome.elapsed:.1f}")
    bars = {
        "every invoice matches": outcome.numbers["matched"] == invoices,
        "nothing is fetched singly": outcome.numbers["single_fetches"] == 0,
        "list calls": outcome.remote_calls <= 2 * pages + 1,
        f"under {MEMORY_MB} MB": memory < MEMORY_MB,
    }
    for bar, met in bars.items():
        print(f"{'ok' if met else 'MISSED':<8} {bar}")
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
