"""Run the sandbox as a process: ``python -m sandbox.stripe_api --port 0 --state-dir DIR --ready-file FILE``."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from .account import Account, Settings
from .api import StripeApi
from .catalog import API_VERSION
from .keys import DEFAULT_KEY, KeyRing
from .server import LOOPBACK, listen, make_server


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.stripe_api", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port (0: a free one)")
    parser.add_argument("--state-dir", type=Path, help="where the account is kept (default: in memory)")
    parser.add_argument(
        "--ready-file", type=Path, help="written as JSON (url, key, pid) once calls are accepted"
    )
    parser.add_argument(
        "--rate-limit", type=float, default=25, help="calls a second per endpoint (0: no limit)"
    )
    parser.add_argument(
        "--global-rate-limit", type=float, default=0, help="calls a second in all (0: no limit)"
    )
    parser.add_argument("--latency-ms", type=float, default=0, help="added to every call")
    parser.add_argument("--settlement-days", type=float, default=4, help="until a bank debit settles")
    parser.add_argument("--import-file", type=Path, help="an export to start from, when the account is empty")
    return parser.parse_args()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    arguments = _arguments()
    settings = Settings(
        rate_limit=arguments.rate_limit or None,
        global_rate_limit=arguments.global_rate_limit or None,
        latency=arguments.latency_ms / 1000,
        settlement_delay=int(arguments.settlement_days * 86_400),
    )
    account = Account.open(arguments.state_dir, settings)
    if arguments.import_file and not account.store.count("customer") and not account.store.count("event"):
        from .transfer import import_lines

        with arguments.import_file.open(encoding="utf-8") as lines:
            import_lines(account, lines)
    listener = listen(arguments.port, arguments.host)
    url = f"http://{arguments.host}:{listener.getsockname()[1]}"
    ready = {"url": url, "key": DEFAULT_KEY, "pid": os.getpid(), "api_version": API_VERSION}
    if arguments.ready_file:
        partial = arguments.ready_file.with_suffix(".partial")
        partial.write_text(json.dumps(ready), encoding="utf-8")
        partial.replace(arguments.ready_file)
    print(json.dumps(ready), flush=True)
    make_server(StripeApi(account, KeyRing(account.store))).run(sockets=[listener])
    account.store.close()


if __name__ == "__main__":
    main()
