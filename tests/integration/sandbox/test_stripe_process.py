"""The local Stripe as a process of its own: start, control API, restart, kill, seeding, export."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import stripe as stripe_python

from sandbox.stripe_api import DEFAULT_KEY, StripeSandbox
from sandbox.stripe_api.seeding import seed
from sandbox.stripe_api.transfer import export_lines, import_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


class Process:
    """A running ``python -m sandbox.stripe_api``."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        ready = folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "sandbox.stripe_api",
            "--port",
            "0",
            "--state-dir",
            str(folder / "state"),
        ]
        self.process = subprocess.Popen(
            [*command, "--ready-file", str(ready), *arguments], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while not ready.exists():
            assert self.process.poll() is None, "the sandbox ended before it was ready"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.ready = json.loads(ready.read_text())
        self.url = self.ready["url"]
        self.api = stripe_python.StripeClient(DEFAULT_KEY, base_addresses={"api": self.url}).v1

    def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.url}/_sandbox{path}", json=body, timeout=10)
        return answer.json() | {"http": answer.status_code}

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    running = Process(tmp_path_factory.mktemp("stripe"), "--rate-limit", "0")
    yield running
    running.stop()


@pytest.fixture
def running(process: Process) -> Process:
    process.control("POST", "/reset")
    return process


def charged(process: Process, token: str = "pm_card_visa", key: str = "k") -> Any:
    request = {"amount": 900, "currency": "usd", "payment_method": token, "confirm": True}
    return process.api.payment_intents.create(request, {"idempotency_key": key})


def test_the_process_keeps_its_account_over_a_stop_and_a_kill(tmp_path) -> None:
    process = Process(tmp_path)
    assert process.ready["pid"] == process.process.pid
    first = charged(process)
    process.control("POST", "/clock", {"advance": {"hours": 2}})
    process.control("POST", "/keys", {"key": "rk_test_reader", "permissions": {"invoice": "read"}})
    now = process.control("GET", "/clock")["now"]
    assert process.stop(signal.SIGKILL) == -signal.SIGKILL
    process = Process(tmp_path)
    assert charged(process).id == first.id
    assert len(process.control("GET", "/ledger")["entries"]) == 1
    assert 0 <= process.control("GET", "/clock")["now"] - now < 60
    reader = stripe_python.StripeClient("rk_test_reader", base_addresses={"api": process.url})
    assert reader.v1.invoices.list().data == []
    assert process.stop() in (0, -signal.SIGTERM)


def test_the_control_api(running: Process) -> None:
    assert running.control("GET", "/health")["status"] == "ok"
    running.control(
        "POST", "/faults", {"endpoint": "POST /v1/payment_intents", "kind": "error", "when": "after"}
    )
    assert [fault["kind"] for fault in running.control("GET", "/faults")["faults"]] == ["error"]
    with pytest.raises(stripe_python.APIError):
        stripe_python.StripeClient(
            DEFAULT_KEY, base_addresses={"api": running.url}, max_network_retries=0
        ).v1.payment_intents.create({"amount": 900, "currency": "usd"})
    assert running.control("GET", "/calls")["POST /v1/payment_intents"] == {
        "total": 1,
        "statuses": {"500": 1},
    }
    assert running.control("DELETE", "/calls") == {"http": 200}
    assert running.control("DELETE", "/faults") == {"faults": [], "http": 200}
    assert running.control("POST", "/settings", {"rate_limit": 3})["rate_limit"] == 3
    assert running.control("POST", "/settings", {"speed": 3})["http"] == 400
    assert running.control("POST", "/faults", {"endpoint": "*", "kind": "explode"})["http"] == 400


def test_payments_are_steered_by_the_control_api(running: Process) -> None:
    customer = running.api.customers.create({}).id
    bank = running.api.payment_methods.attach("pm_usBankAccount", {"customer": customer}).id
    request = {"amount": 900, "currency": "usd", "customer": customer, "confirm": True}
    debit = running.api.payment_intents.create({**request, "payment_method": bank})
    assert running.control("POST", f"/payment_intents/{debit.id}/settle", {})["status"] == "succeeded"
    assert running.control("POST", f"/payment_intents/{debit.id}/settle", {})["http"] == 400
    card = running.api.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    running.control("POST", f"/payment_methods/{card}/outcomes", {"outcomes": ["requires_action"]})
    intent = running.api.payment_intents.create({**request, "payment_method": card})
    assert intent.status == "requires_action"
    done = running.control("POST", f"/payment_intents/{intent.id}/authenticate", {"succeeds": True})
    dispute = running.control("POST", f"/charges/{done['latest_charge']}/dispute", {"reason": "fraudulent"})
    assert running.control("POST", f"/disputes/{dispute['id']}/close", {"status": "lost"})["status"] == "lost"
    assert running.control("POST", "/disputes/du_none/close", {"status": "lost"})["http"] == 404
    assert running.control("GET", "/ledger")["totals"] == {"usd": 1_800}


def test_an_account_is_exported_and_imported_whole(running: Process) -> None:
    charged(running)
    bank = running.api.payment_methods.attach(
        "pm_usBankAccount", {"customer": running.api.customers.create({}).id}
    )
    request = {"amount": 500, "currency": "usd", "customer": bank.customer, "payment_method": bank.id}
    pending = running.api.payment_intents.create({**request, "confirm": True})
    exported = requests.get(f"{running.url}/_sandbox/export", timeout=10).text
    with StripeSandbox(rate_limit=None) as copy:
        counts = import_lines(copy.account, exported)
        assert (counts["payment_intent"], counts["ledger"], counts["settlement"]) == (2, 1, 1)
        assert "".join(export_lines(copy.account)) == exported
        copy.clock.advance(days=4)
        assert copy.client().v1.payment_intents.retrieve(pending.id).status == "succeeded"
        assert copy.ledger.totals() == {"usd": 1_400}
        with pytest.raises(ValueError, match="not empty"):
            import_lines(copy.account, exported)


def test_history_is_seeded_in_every_state(running: Process) -> None:
    specs = [
        {"customer": {"id": "cus_seeded", "email": "seed@example.test"}},
        {"invoice": {"id": "in_paid", "customer": "cus_seeded", "amount": 900, "status": "paid", "created": 1_700_000_000,
                     "payments": [{"amount": 400, "paid_at": 1_700_000_100}, {"amount": 500, "paid_at": 1_700_000_200}]}},
        {"invoice": {"amount": 900, "payments": [{"amount": 300}, {"amount": 600, "status": "processing"}]}},
        {"invoice": {"amount": 900, "status": "paid", "out_of_band": True}},
        {"invoice": {"amount": 900, "status": "void"}},
        {"invoice": {"amount": 900, "status": "uncollectible"}},
        {"invoice": {"amount": 900, "status": "draft"}},
        {"payment_intent": {"amount": 100, "status": "requires_payment_method", "metadata": {"invoice_id": "7"}}},
    ]  # fmt: skip
    body = "\n".join(json.dumps(spec) for spec in specs)
    ids = requests.post(f"{running.url}/_sandbox/seed", data=body, timeout=10).json()["ids"]
    assert ids[:2] == ["cus_seeded", "in_paid"]
    paid = running.api.invoices.retrieve("in_paid", {"expand": ["payments.data.payment.payment_intent"]})
    assert (paid.amount_paid, paid.amount_remaining, paid.status_transitions.paid_at) == (
        900,
        0,
        1_700_000_200,
    )
    assert [p.amount_paid for p in paid.payments.data] == [500, 400]
    partial = running.api.invoices.retrieve(ids[2])
    assert (partial.status, partial.amount_paid, partial.amount_remaining) == ("open", 300, 600)
    statuses = [invoice.status for invoice in running.api.invoices.list({"limit": 100}).data]
    assert statuses == ["draft", "uncollectible", "void", "paid", "open", "paid"]
    assert running.control("GET", "/ledger")["entries"] == []
    wrong = requests.post(
        f"{running.url}/_sandbox/seed", data='{"invoice": {"amount": 1, "colour": 2}}', timeout=5
    )
    assert wrong.status_code == 400


def test_a_page_costs_the_same_in_a_large_account(tmp_path) -> None:
    with StripeSandbox(state_dir=tmp_path, rate_limit=None) as stripe:
        rows = ({"payment_intent": {"amount": 100, "created": 1_700_000_000 + i}} for i in range(20_000))
        ids = seed(stripe.account, rows)
        steps = {"count": 0}

        def step() -> int:
            steps["count"] += 1
            return 0

        api, database, spent = stripe.client().v1, stripe.account.store.db, []
        for start in (19_900, 10_000, 200):
            steps["count"] = 0
            database.set_progress_handler(step, 10)
            page = api.payment_intents.list(
                {"limit": 100, "starting_after": ids[start], "created": {"lt": 1_800_000_000}}
            )
            database.set_progress_handler(None, 10)
            assert [intent.id for intent in page.data] == ids[start - 100 : start][::-1]
            spent.append(steps["count"])
        assert max(spent) < 2 * min(spent) < 2_000


def test_the_port_is_on_loopback_only(running: Process) -> None:
    listening = Path(f"/proc/{running.process.pid}/net/tcp").read_text().splitlines()[1:]
    port = int(running.url.rsplit(":", 1)[1])
    addresses = {
        row.split()[1].split(":")[0] for row in listening if int(row.split()[1].split(":")[1], 16) == port
    }
    assert addresses == {"0100007F"}
    assert os.getpid() != running.ready["pid"]
