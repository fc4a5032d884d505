"""One run of process_recurring_charges in a process of its own, to be killed."""

from __future__ import annotations

import sys

import psycopg
import stripe  # noqa: F401 - loaded before the run is timed

from cp_ops.finance.recurring_charges import ProcessRecurringCharges
from cp_ops.hooks.rate_limit import CallLimiter
from cp_ops.hooks.stripe_client import StripeApi
from cp_ops.runtime.lease import Identity
from cp_ops.runtime.runner import run_job
from cp_ops.runtime.settings import Settings


def main() -> None:
    """Say that it is about to begin, then run."""
    dsn, url, key = sys.argv[1:]
    job = ProcessRecurringCharges(StripeApi(key, limiter=CallLimiter(0), base_url=url, max_network_retries=0))
    print("ready", flush=True)  # noqa: T201 - the parent waits for it
    run_job(
        job,
        job.options.parse({}),
        connect=lambda: psycopg.connect(dsn, autocommit=True),
        settings=Settings(frontend_url="https://app.example.test", default_from_email="billing@example.test"),
        identity=Identity("killed/run/task"),
    )


if __name__ == "__main__":
    main()
