"""Run the payment module's four commands as its documentation orders them; print what they took as JSON."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import time

import django
from django.core.management import call_command

django.setup()
COMMANDS = (
    ("recheck_initiated_solana_payments", {"limit": 1_000_000}),
    ("close_expired_solana_payments_with_wallets", {}),
    ("send_solana_payments_from_one_time_wallets", {}),
    ("close_expired_one_time_wallets_and_reclaim_funds", {}),
)
failed = []
started, cpu = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
for name, options in COMMANDS:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            call_command(name, **options)
    except Exception as error:  # noqa: BLE001 - the next command is run in any case, as cron would
        failed.append(f"{name}: {type(error).__name__}: {error}"[:200])
used = resource.getrusage(resource.RUSAGE_SELF)
took = {
    "wall": time.monotonic() - started,
    "cpu": used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime,
    "failed": failed,
}
sys.stdout.write(json.dumps(took) + "\n")
