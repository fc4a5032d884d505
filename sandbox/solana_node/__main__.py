"""`python -m sandbox.solana_node`: the node as a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sandbox.solana_node.clock import SLOT_SECONDS, CommitmentDelays
from sandbox.solana_node.limits import RateLimits
from sandbox.solana_node.node import SolanaNode

if TYPE_CHECKING:
    from types import FrameType


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.solana_node", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--state-dir", type=Path, help="keep the chain here; without it every start is a new chain"
    )
    parser.add_argument(
        "--ready-file", type=Path, help='written when it serves: {"url", "port", "pid", "faucet"}'
    )
    parser.add_argument("--clock", choices=("manual", "real"), default="real")
    parser.add_argument("--slot-seconds", type=float, default=SLOT_SECONDS)
    parser.add_argument("--confirmed-seconds", type=float, default=0.0, help="from landing to confirmed")
    parser.add_argument("--finalized-seconds", type=float, default=0.0, help="from landing to finalized")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds added to every HTTP request")
    parser.add_argument("--limit-calls", type=int, help="calls in 10 s")
    parser.add_argument("--limit-per-method", type=int, help="calls of one method in 10 s")
    return parser.parse_args()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    options = _arguments()
    node = SolanaNode(
        host=options.host,
        port=options.port,
        clock=options.clock,
        slot_seconds=options.slot_seconds,
        delays=CommitmentDelays(0.0, options.confirmed_seconds, options.finalized_seconds),
        limits=RateLimits(options.limit_calls, options.limit_per_method),
        latency=options.latency,
        state_dir=options.state_dir,
    )
    threading.Thread(target=_announce, args=(node, options.ready_file), daemon=True).start()
    for stopping in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stopping, _exit)  # uvicorn takes both and raises them again once it has stopped
    try:
        node.serve()
    finally:
        node.close()


def _exit(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _announce(node: SolanaNode, ready_file: Path | None) -> None:
    while not node.server.started:
        time.sleep(0.01)
    facts = {
        "url": node.url,
        "port": node.port,
        "pid": os.getpid(),
        "faucet": str(node.state.faucet.pubkey()),
    }
    print(json.dumps(facts), flush=True)
    if ready_file is not None:
        partial = ready_file.with_name(f"{ready_file.name}.partial")
        partial.write_text(json.dumps(facts), encoding="utf-8")
        partial.replace(ready_file)


if __name__ == "__main__":
    main()
