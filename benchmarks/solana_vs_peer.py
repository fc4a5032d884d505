"""The Solana commands beside django-solana-payments 1.0.0, on the same wallets and the same node, in one run.

    python benchmarks/solana_vs_peer.py                 # 1,000 wallets; the peer takes minutes
    python benchmarks/solana_vs_peer.py --wallets 200 --only ours
    python benchmarks/solana_vs_peer.py --wallets 50 --only ours --latency 0.05 --confirmed 0.6

Each contestant gets a copy of one chain and of one database: 1,000 one-time wallets in the states of the mix below, each
with two token accounts open. Then its commands run: recheck, close expired payments, send, close expired wallets. The
node counts the calls and its ledger says what was paid and moved; what is left is read from the chain, not asked.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "plugins")]

from cp_ops.hooks.solana_rpc import SolanaRpc  # noqa: E402 - after the path
from cp_ops.runtime.lease import Identity  # noqa: E402
from cp_ops.runtime.runner import run_job  # noqa: E402
from cp_ops.runtime.settings import Settings  # noqa: E402
from cp_ops.solana.configuration import SolanaConfiguration  # noqa: E402
from cp_ops.solana.job import (  # noqa: E402
    CloseExpiredPayments,
    CloseExpiredWallets,
    RecheckPayments,
    SendFunds,
)
from sandbox import application, solana_payments  # noqa: E402
from sandbox.services.postgres import PostgresServer  # noqa: E402
from sandbox.solana_node import SolanaNode, keypair  # noqa: E402
from sandbox.solana_node.client import RpcClient  # noqa: E402
from sandbox.world import World  # noqa: E402
from sandbox.world.solana import ENCRYPTION_KEY, NodeChain, PaymentShop  # noqa: E402
from tests.peer.environment import run_peer  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cp_ops.solana.wallet_job import WalletJob
    from sandbox.application import ApplicationDatabase
    from sandbox.world.solana import Payment

SOL = 10**9
RECEIVER, FEE_PAYER = keypair("receiver"), keypair("fee-payer")
COMMANDS: tuple[tuple[type[WalletJob], dict[str, Any]], ...] = (
    (RecheckPayments, {"limit": 1_000_000}),
    (CloseExpiredPayments, {}),
    (SendFunds, {}),
    (CloseExpiredWallets, {}),
)
LIMITS: Mapping[str, float] = {
    "calls": 450,
    "transactions": 170,
    "fees": 5_200_000,
    "wall": 10.0,
    "locked rent": 0,
    "money left": 0,
}
"""What this package promises on 1,000 wallets, on a node without latency."""
ALWAYS = {"locked rent": 0, "money left": 0}
"""What it promises of any number of wallets on any node."""
FAR_AWAY = (50, 0.05, 0.6)
"""Wallets, round trip and seconds to confirmed of a promise of its own: all four commands in `FAR_AWAY_LIMITS`."""
FAR_AWAY_LIMITS = ALWAYS | {"wall": 5.0}


@dataclass(frozen=True)
class Kind:
    """Some of 200 wallets: rows, what is paid in, and whether it is due to be emptied."""

    count: int
    status: str = "initiated"
    state: str = "created"
    expires_in: float = 1_800
    paid: str = ""
    emptied: bool = False
    due: bool = True


MIX = (
    Kind(30, due=False),
    Kind(10, paid="SOL"),
    Kind(10, paid="USDC"),
    Kind(50, expires_in=-3_600),
    Kind(6, expires_in=-3_600, paid="SOL"),
    Kind(6, expires_in=-3_600, paid="USDC"),
    Kind(20, "confirmed", "processing_payment", -600, "SOL"),
    Kind(28, "confirmed", "processing_payment", -600, "USDC"),
    Kind(6, "confirmed", "failed_to_send_funds", -600, "SOL"),
    Kind(6, "confirmed", "failed_to_send_funds", -600, "USDC"),
    Kind(4, "confirmed", "failed_to_send_funds", -600, "SOL", emptied=True),
    Kind(20, "expired", "payment_expired", -3_600),
    Kind(2, "expired", "payment_expired", -3_600, "USDC"),
    Kind(2, "confirmed", "sent_funds", -3_600, due=False),
)


@dataclass
class Result:
    """What a contestant took and left."""

    figures: dict[str, float]
    notes: list[str]


class Benchmark:
    """One world, copied for each contestant."""

    def __init__(
        self, wallets: int, scratch: Path, latency: float, confirmed: float, *, public_limits: bool
    ) -> None:
        self.scale = wallets / 200
        self.public_limits = public_limits
        self.scratch = scratch
        self.latency, self.confirmed = latency, confirmed
        self.passwords = {role: secrets.token_urlsafe(12) for role in application.ROLES}
        self.postgres = PostgresServer(scratch / "postgres", dies_with_parent=True)
        self.due: list[Payment] = []
        self.world_name = "world"

    def build(self) -> None:
        """Fill a database and a chain, and keep both."""
        self.postgres.start()
        application.create_roles(self.postgres, self.passwords)
        database = application.create_application_database(self.postgres, self.world_name, self.passwords)
        solana_payments.create_payment_tables(database)
        with (
            psycopg.connect(database.owner_dsn, autocommit=True) as connection,
            SolanaNode(state_dir=self.scratch / "chain") as node,
        ):
            self._fill(World(connection), node)

    def _fill(self, world: World, node: SolanaNode) -> None:
        shop = PaymentShop(world, NodeChain(node, FEE_PAYER))
        sol, usdc = shop.token("SOL", price="0.1"), shop.token("USDC", price="25")
        self.tokens = [sol, usdc, shop.token("USDT", price="25")]
        self.mints = [shop.chain.mint(token.mint) for token in self.tokens if token.mint]  # type: ignore[attr-defined]
        node.build.airdrop(RECEIVER.pubkey(), SOL)
        for kind in MIX:
            made = [
                shop.payment(
                    status=kind.status, state=kind.state, expires_in=kind.expires_in, open_accounts=False
                )
                for _ in range(round(kind.count * self.scale))
            ]
            opened = [
                (payment.address, token.mint) for payment in made for token in self.tokens if token.mint
            ]
            shop.chain.open_accounts(opened)
            late = kind.status == "expired"
            for payment in made if kind.paid else ():
                token = sol if kind.paid == "SOL" else usdc
                moment = payment.too_late() if late else payment.in_time() if kind.expires_in < 0 else None
                payment.pay(token.price, token, at=moment)
                if kind.emptied:
                    node.build.pay_sol(RECEIVER.pubkey(), token.minor(token.price), payer=payment.key)
            if kind.due:
                self.due += made
        node.set_unix_time(time.time())

    @contextmanager
    def contestant(self, name: str) -> Iterator[tuple[ApplicationDatabase, str]]:
        """Start a copy of the chain as a process, beside a copy of the database."""
        database = application.create_application_database(
            self.postgres, name, self.passwords, template=self.world_name
        )
        state, ready = self.scratch / f"chain-{name}", self.scratch / f"{name}.json"
        shutil.copytree(self.scratch / "chain", state)
        command = [sys.executable, "-m", "sandbox.solana_node", "--state-dir", state, "--ready-file", ready]
        command += ["--latency", str(self.latency), "--confirmed-seconds", str(self.confirmed)]
        command += ["--finalized-seconds", str(self.confirmed and self.confirmed + 12)]
        if self.public_limits:
            command += ["--limit-calls", "100", "--limit-per-method", "40"]
        process = subprocess.Popen([str(part) for part in command], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        try:
            while not ready.exists():
                if process.poll() is not None:
                    raise RuntimeError("the node did not start")
                time.sleep(0.05)
            yield database, json.loads(ready.read_text())["url"]
        finally:
            process.terminate()
            process.wait()

    def measure(self, name: str) -> Result:
        """Run a contestant and look at what it left."""
        with self.contestant(name) as (database, url):
            before = control(url, "ledger")
            control(url, "calls", reset=True)
            took, notes = (self._ours if name == "ours" else self._peers)(database, url)
            calls = control(url, "calls")
            moved = control(url, "ledger", since=before["entries"])
            control(url, "limits")  # lifted: what is left is read by a client that never waits
            locked, money = self._left(url)
        if not moved["conserved"]:
            raise AssertionError(moved["problem"])
        figures = {
            "calls": calls["total"],
            "HTTP requests": calls["requests"],
            "transactions": moved["transactions"],
            "fees": moved["fees"],
            "wall": took["wall"],
            "cpu": took["cpu"],
            "locked rent": locked,
            "money left": money,
        }
        notes.append(f"calls by method: {calls['by_method']}")
        return Result(figures, notes)

    def _ours(self, database: ApplicationDatabase, url: str) -> tuple[dict[str, float], list[str]]:
        configuration = SolanaConfiguration.of("benchmark", self._fields(url))
        notes = []
        started, cpu = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        for command, options in COMMANDS:
            job = command(configuration, SolanaRpc)
            outcome = run_job(
                job,
                job.options.parse(options),
                connect=lambda: psycopg.connect(database.cp_ops_dsn, autocommit=True),
                settings=Settings(),
                identity=Identity(f"benchmark/{job.command}"),
            )
            notes.append(f"{outcome.line()} {outcome.numbers.get('transactions', 0)} transactions")
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_seconds = used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime
        return {"wall": time.monotonic() - started, "cpu": cpu_seconds}, notes

    def _peers(self, database: ApplicationDatabase, url: str) -> tuple[dict[str, float], list[str]]:
        took = json.loads(
            run_peer(
                "run_commands.py",
                environment={
                    "PEER_DATABASE": database.owner_dsn,
                    "PEER_RPC_URL": url,
                    "PEER_RECEIVER": str(RECEIVER.pubkey()),
                    "PEER_FEE_PAYER": FEE_PAYER.to_json(),
                    "PEER_ENCRYPTION_KEY": ENCRYPTION_KEY,
                },
            ).splitlines()[-1]
        )
        return took, list(took["failed"])

    @staticmethod
    def _fields(url: str) -> dict[str, Any]:
        return {
            "rpc_url": url,
            "fee_payer": FEE_PAYER.to_json(),
            "receiver_address": str(RECEIVER.pubkey()),
            "wallet_encryption_keys": ENCRYPTION_KEY,
        }

    def _left(self, url: str) -> tuple[int, int]:
        """Count, of the wallets that were due, those with token accounts still open and those with money inside."""
        locked = money = 0
        with RpcClient(url) as client:
            for start in range(0, len(self.due), 33):
                part = self.due[start : start + 33]
                keys = [
                    str(key)
                    for payment in part
                    for key in (payment.address, *(mint.ata(payment.key.pubkey()) for mint in self.mints))
                ]
                found = client.value(
                    "getMultipleAccounts", keys, {"encoding": "jsonParsed", "commitment": "processed"}
                )
                for at in range(len(part)):
                    own, *accounts = found[3 * at : 3 * at + 3]
                    amounts = [a["data"]["parsed"]["info"]["tokenAmount"]["amount"] for a in accounts if a]
                    locked += any(accounts)
                    money += bool(own) or any(amount != "0" for amount in amounts)
        return locked, money


def control(url: str, verb: str, **body: Any) -> dict[str, Any]:
    """Post to the node's control API."""
    with RpcClient(url, timeout=60) as client:
        return client.control(verb, **body)


def main() -> int:
    """Run, print a table, and fail when a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wallets", type=int, default=1_000, help="in the proportions of the mix")
    parser.add_argument("--only", choices=("ours", "peer"), help="run one contestant")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds of each HTTP request")
    parser.add_argument(
        "--confirmed", type=float, default=0.0, help="seconds until a transaction is confirmed"
    )
    parser.add_argument(
        "--public-limits", action="store_true", help="the public node's: 100 calls, 40 of a method, in 10 s"
    )
    parser.add_argument("--notes", action="store_true", help="print outcomes and calls by method")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    names = [arguments.only] if arguments.only else ["ours", "peer"]
    with tempfile.TemporaryDirectory(prefix="cp-ops-benchmark-") as scratch:
        benchmark = Benchmark(
            arguments.wallets,
            Path(scratch),
            arguments.latency,
            arguments.confirmed,
            public_limits=arguments.public_limits,
        )
        try:
            benchmark.build()
            results = {name: benchmark.measure(name) for name in names}
        finally:
            benchmark.postgres.remove()
    print(f"{arguments.wallets} wallets, {len(benchmark.due)} of them due")
    print(f"{'':>14}" + "".join(f"{name:>14}" for name in names))
    for figure in results[names[0]].figures:
        print(f"{figure:>14}" + "".join(f"{results[name].figures[figure]:>14,.6g}" for name in names))
    if arguments.notes:
        for name in names:
            print(*(f"{name}: {note}" for note in results[name].notes), sep="\n")
    if arguments.output:
        arguments.output.write_text(
            json.dumps({name: result.figures for name, result in results.items()}, indent=2)
        )
    promises: Mapping[str, float] = ALWAYS
    if not arguments.public_limits:
        asked = (arguments.wallets, arguments.latency, arguments.confirmed)
        promises = {(1_000, 0.0, 0.0): LIMITS, FAR_AWAY: FAR_AWAY_LIMITS}.get(asked, ALWAYS)
    broken = _broken(results["ours"].figures, promises) if "ours" in results else []
    print(*broken, sep="\n")
    return 1 if broken else 0


def _broken(figures: dict[str, float], promises: Mapping[str, float]) -> list[str]:
    return [
        f"promise broken: {name} {figures[name]:,.6g}, at most {most:,.6g}"
        for name, most in promises.items()
        if figures[name] > most
    ]


if __name__ == "__main__":
    raise SystemExit(main())
