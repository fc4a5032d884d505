"""The Solana DAGs: how the chain goes on, what stops it, and how payments are announced."""

from __future__ import annotations

import hashlib
import hmac
import json

import psycopg
import pytest

from sandbox.services.solana import FEE_PAYER
from sandbox.world import World
from sandbox.world.solana import NodeChain, PaymentShop
from tests.dags.conftest import solana_connection

STEPS = (
    "close_expired_solana_payments_with_wallets",
    "send_solana_payments_from_one_time_wallets",
    "close_expired_one_time_wallets_and_reclaim_funds",
)


@pytest.fixture
def shop(app_db, solana):
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
        made = PaymentShop(World(connection), NodeChain(solana, FEE_PAYER))
        made.sol, made.usdc = made.token("SOL", price="0.1"), made.token("USDC", price="25")
        yield made


def test_later_steps_run_although_rows_of_an_earlier_one_failed(run_dag, shop):
    broken = shop.payment(expires_in=-60, key_form="other_key")
    paid = shop.payment(expires_in=-60, status="confirmed", state="processing_funds")
    paid.pay("0.1", shop.sol)
    expired = shop.payment(expires_in=-60, status="expired", state="payment_expired")
    ran = run_dag("solana_payments_maintenance")

    assert [ran.tasks[step] for step in STEPS[:2]] == ["failed", "success"]
    assert broken.states() == ("expired", "payment_expired")
    assert paid.states() == ("confirmed", "sent_funds")
    assert expired.states() == ("expired", "payment_expired_and_wallet_closed")


def test_no_step_runs_after_one_whose_connection_is_wrong(run_dag, shop, solana, monkeypatch):
    broken = solana_connection(solana.url) | {"password": "not a key"}
    monkeypatch.setenv("AIRFLOW_CONN_SOLANA_DEFAULT", json.dumps(broken))
    payment = shop.payment(expires_in=-60)
    solana.calls.reset()
    ran = run_dag("solana_payments_maintenance")
    assert ran.state == "failed"
    assert [ran.tasks[step] for step in STEPS] == ["failed"] * 3
    assert [ran.outcomes[step] for step in STEPS] == [None] * 3
    assert solana.calls.total == 0
    assert payment.states() == ("initiated", "created")


def test_no_step_runs_after_one_that_stopped(run_dag, shop, solana, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CP_OPS__SOLANA_MAX_SWEEP_LAMPORTS", "1")
    late = shop.payment(expires_in=-60)
    late.pay("0.1", shop.sol, at=late.too_late())
    expired = shop.payment(expires_in=-60, status="expired", state="payment_expired")
    ran = run_dag("solana_payments_maintenance")
    assert [ran.tasks[step] for step in STEPS] == ["failed"] * 3
    assert "raise solana_max_sweep_lamports" in ran.outcomes[STEPS[0]]["error"]
    assert [ran.outcomes[step] for step in STEPS[1:]] == [None] * 2
    assert expired.wallet()["state"] == "payment_expired"
    assert late.states() == ("initiated", "created")


def test_no_step_runs_beside_a_run_of_the_first_one_and_none_fails(run_dag, shop, app_db):
    payment = shop.payment(expires_in=-60)
    with psycopg.connect(app_db.cp_ops_dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO cp_ops.job_run (command, scope, holder, attempt, dry_run, options, requested_by, state,"
            " started_at, expires_at) VALUES (%s, '', 'somebody/else', 1, false, '{}', 'test', 'running', now(),"
            " now() + interval '1 minute')",
            [STEPS[0]],
        )
    ran = run_dag("solana_payments_maintenance")
    assert [ran.tasks[step] for step in STEPS] == ["skipped"] * 3
    assert [ran.outcomes[step]["reasons"] for step in STEPS] == [{"already running": 1}] * 3
    assert payment.states() == ("initiated", "created")


def asset_events(metadata_db):
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    with create_session() as session:
        events = session.query(AssetEvent).order_by(AssetEvent.id).all()
        return [(event.asset.name, event.extra) for event in events]


def test_accepted_and_expired_payments_are_announced_once(run_dag, shop, metadata_db, listener, monkeypatch):
    host = f"http://127.0.0.1:{listener.server_port}/hook"
    webhook = {"conn_type": "http", "host": host, "password": "whsec"}
    monkeypatch.setenv("AIRFLOW_CONN_SOLANA_WEBHOOK", json.dumps(webhook))
    accepted, expired = shop.payment(expires_in=-60), shop.payment(expires_in=-60)
    signature = accepted.pay("25", shop.usdc, at=accepted.in_time())
    before = len(asset_events(metadata_db))
    run_dag("close_expired_solana_payments_with_wallets")
    assert run_dag("cp_ops_announce_solana_payments").state == "success"

    events = dict(asset_events(metadata_db)[before:])
    assert events.keys() == {"solana_payment_accepted", "solana_payment_expired"}
    assert events["solana_payment_accepted"]["payment_ids"] == [accepted.id]
    assert events["solana_payment_accepted"]["payments"][0]["signature"] == signature
    assert events["solana_payment_expired"]["payment_ids"] == [expired.id]
    posted = [json.loads(body) for _, body in listener.received]
    assert [(one["payment_id"], one["kind"]) for one in posted] == [
        (accepted.id, "accepted"),
        (expired.id, "expired"),
    ]
    headers, body = listener.received[0]
    moment, digest = (part.split("=")[1] for part in headers["X-Cp-Ops-Signature"].split(","))
    assert digest == hmac.new(b"whsec", f"{moment}.".encode() + body, hashlib.sha256).hexdigest()

    again = run_dag("cp_ops_announce_solana_payments")
    assert again.outcomes["cp_ops_announce_solana_payments"]["numbers"] == {"registered_by_airflow": 2}
    assert run_dag("cp_ops_announce_solana_payments").state == "success"
    assert len(asset_events(metadata_db)) == before + 2
    assert len(listener.received) == 2


def test_a_webhook_that_does_not_answer_is_tried_again_later(run_dag, shop, listener, monkeypatch, app_db):
    webhook = {"conn_type": "http", "host": f"http://127.0.0.1:{listener.server_port}/", "password": "whsec"}
    monkeypatch.setenv("AIRFLOW_CONN_SOLANA_WEBHOOK", json.dumps(webhook))
    payment = shop.payment(expires_in=-60)
    run_dag("close_expired_solana_payments_with_wallets")
    listener.status = 503
    assert run_dag("cp_ops_announce_solana_payments").state == "success"
    assert run_dag("cp_ops_announce_solana_payments").state == "success"
    assert len(listener.received) == 1, "not before a minute has passed"
    with psycopg.connect(app_db.cp_ops_dsn, autocommit=True) as connection:
        connection.execute("UPDATE cp_ops.solana_payment_event SET due_at = now() - interval '1 second'")
    listener.status = 200
    run_dag("cp_ops_announce_solana_payments")
    assert [json.loads(body)["payment_id"] for _, body in listener.received] == [payment.id] * 2
