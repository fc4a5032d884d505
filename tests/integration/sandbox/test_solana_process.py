"""The local node as a process of its own: ready file, control API, a chain that outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from solders.keypair import Keypair
from solders.system_program import TransferParams, transfer

from sandbox.solana_node import SolanaNode, keypair
from sandbox.solana_node.client import RpcCallError, RpcClient

if TYPE_CHECKING:
    from collections.abc import Iterator

SOL = 10**9
ROOT = Path(__file__).resolve().parents[3]
ALICE = keypair("alice")


@contextmanager
def process(tmp_path: Path, *options: str, stop: int = signal.SIGTERM) -> Iterator[RpcClient]:
    ready = tmp_path / "ready.json"
    ready.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "sandbox.solana_node",
        "--port",
        "0",
        "--ready-file",
        str(ready),
        *options,
    ]
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        deadline = time.monotonic() + 20
        while not ready.exists():
            assert running.poll() is None, running.stdout and running.stdout.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        facts = json.loads(ready.read_text())
        assert facts["pid"] == running.pid
        with RpcClient(facts["url"]) as rpc:
            yield rpc
    finally:
        running.send_signal(stop)
        assert running.wait(10) == (0 if stop == signal.SIGTERM else -stop)


def history(rpc: RpcClient, address: str) -> list[dict[str, Any]]:
    entries = rpc.call("getSignaturesForAddress", address)
    return [rpc.call("getTransaction", entry["signature"], {"encoding": "jsonParsed"}) for entry in entries]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_the_chain_outlives_its_process(tmp_path: Path, stop: int) -> None:
    options = ("--state-dir", str(tmp_path / "state"), "--clock", "manual")
    wallet = str(ALICE.pubkey())
    with process(tmp_path, *options, stop=stop) as rpc:
        mint = rpc.control("create-mint", name="USDC", decimals=6)["address"]
        rpc.control("pay-sol", to=wallet, lamports=SOL)
        rpc.control("pay-tokens", to=wallet, mint=mint, amount=700)
        rpc.control("advance", slots=300)
        transaction = rpc.sign(
            [transfer(TransferParams(from_pubkey=ALICE.pubkey(), to_pubkey=ALICE.pubkey(), lamports=1))],
            [ALICE],
        )
        rpc.send(transaction)
        before = (rpc.call("getSlot"), history(rpc, wallet), rpc.control("ledger"))
        blockhash = rpc.blockhash()
        rpc.control("advance", slots=7)
    elapsed = 7 if stop == signal.SIGTERM else 0  # a killed process leaves the time of its last transaction
    with process(tmp_path, *options) as rpc:
        assert rpc.call("getSlot") == before[0] + elapsed
        assert (history(rpc, wallet), rpc.control("ledger")) == before[1:]
        assert rpc.value("isBlockhashValid", blockhash) is True
        assert rpc.control("create-mint", name="USDC", decimals=6)["address"] == mint
        with pytest.raises(RpcCallError, match="already been processed"):
            rpc.send(transaction)
        filter_ = {"mint": mint}
        (held,) = rpc.value("getTokenAccountsByOwner", wallet, filter_, {"encoding": "jsonParsed"})
        assert held["account"]["data"]["parsed"]["info"]["tokenAmount"]["amount"] == "700"
        rpc.control("pay-sol", to=wallet, lamports=SOL)
        after = rpc.control("ledger")
        assert (after["conserved"], after["entries"]) == (True, before[2]["entries"] + 1)


def test_a_torn_last_line_of_the_journal_is_passed_over(tmp_path: Path) -> None:
    first = SolanaNode(state_dir=tmp_path)
    first.build.airdrop(ALICE.pubkey(), SOL)
    first.close()
    with (tmp_path / "journal.jsonl").open("a") as journal:
        journal.write('{"kind": "landed", "rec')
    second = SolanaNode(state_dir=tmp_path)
    assert second.ledger.lamports_of(ALICE.pubkey()) == SOL
    second.build.airdrop(ALICE.pubkey(), SOL)
    second.close()
    third = SolanaNode(state_dir=tmp_path)
    assert third.ledger.lamports_of(ALICE.pubkey()) == 2 * SOL
    third.ledger.check()
    third.close()


def test_the_control_api_does_what_the_object_does(tmp_path: Path) -> None:
    with process(tmp_path, "--clock", "manual", "--limit-calls", "1000") as rpc:
        wallet = Keypair()
        mint = rpc.control("create-mint", decimals=2, token_2022=True, freezable=True, transfer_fee=[100, 50])
        (ata,) = rpc.control("create-token-accounts", owners=[str(wallet.pubkey())], mints=[mint["address"]])[
            "accounts"
        ]
        rpc.control("pay-sol", to=str(wallet.pubkey()), lamports=SOL)
        rpc.control("pay-tokens", to=str(wallet.pubkey()), mint=mint["address"], amount=1_000)
        assert rpc.value("getTokenAccountBalance", ata)["amount"] == "990"
        rpc.control("freeze", mint=mint["address"], account=ata)
        parsed = rpc.value("getAccountInfo", ata, {"encoding": "jsonParsed"})["data"]["parsed"]["info"]
        assert parsed["state"] == "frozen"

        assert rpc.control("time", unix_time=1_750_000_000)["unix_time"] == 1_750_000_000
        slot = rpc.control("status")["slot"]
        assert rpc.control("advance", slots=10)["slot"] == slot + 10
        assert rpc.control("commitment", confirmed=1, finalized=2) == {
            "processed": 0.0,
            "confirmed": 1,
            "finalized": 2,
        }
        assert rpc.control("settings", latency=0.01, prioritization_fee=5)["prioritization_fee"] == 5
        assert rpc.call("getRecentPrioritizationFees")[0]["prioritizationFee"] == 5

        number = rpc.control("fault", kind="held", count=1)["number"]
        rpc.control("fault", kind="rate_limited", method="getSlot", answer={"status": 429, "retry_after": 3})
        assert rpc.post(rpc.request("getSlot")).headers["Retry-After"] == "3"
        move = transfer(
            TransferParams(from_pubkey=wallet.pubkey(), to_pubkey=ALICE.pubkey(), lamports=SOL // 2)
        )
        rpc.send(rpc.sign([move], [wallet]), preflightCommitment="processed", skipPreflight=True)
        assert rpc.control("status")["underway"] == 1
        assert rpc.control("release-held") == {"released": 1}
        assert [fault["hits"] for fault in rpc.control("faults")["faults"]] == [1, 1]
        assert [f["kind"] for f in rpc.control("clear-faults", number=number)["faults"]] == ["rate_limited"]
        assert rpc.control("clear-faults")["faults"] == []

        ledger = rpc.control("ledger", since=rpc.control("ledger")["entries"] - 1)
        assert (ledger["conserved"], ledger["transactions"], ledger["fees"]) == (True, 1, 5_000)
        assert ledger["lamports"][str(ALICE.pubkey())] == SOL // 2
        counted = rpc.control("calls", reset=True)
        assert counted["by_method"]["sendTransaction"] == 1
        assert rpc.control("calls")["total"] == 0
        assert rpc.control("limits", per_method=1)["per_method"] == 1
        assert [rpc.post(rpc.request("getSlot")).status_code for _ in range(2)] == [200, 429]


def test_a_wrong_request_to_the_control_api_says_what_is_wrong() -> None:
    with SolanaNode() as node:
        verbs = httpx.get(f"{node.url}_sandbox/").json()
        assert "ledger" in verbs
        assert all(verbs.values()), "every verb is described"
        assert httpx.post(f"{node.url}_sandbox/nonsense", json={}).status_code == 404
        for verb, body in (
            ("pay-sol", {}),
            ("pay-sol", {"to": "x", "lamports": 1}),
            ("fault", {"kind": "earthquake"}),
            ("settings", {"colour": "red"}),
            ("freeze", {"mint": str(ALICE.pubkey()), "account": str(ALICE.pubkey())}),
        ):
            answer = httpx.post(f"{node.url}_sandbox/{verb}", json=body)
            assert answer.status_code == 400
            assert answer.json()["error"]
        assert httpx.post(f"{node.url}_sandbox/status", content=b"[1]").status_code == 400


def test_a_port_in_use_is_one_clear_error() -> None:
    with SolanaNode() as node, pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        SolanaNode(port=node.port)
