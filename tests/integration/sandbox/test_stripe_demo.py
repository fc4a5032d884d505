"""The demo world at the local Stripe: each job finds what was planted for it, and nothing else."""

from __future__ import annotations

import json
from collections import Counter

import psycopg
import pytest

from cp_ops.finance.charges.job import ProcessRecurringCharges
from cp_ops.finance.reconciliation.job import ReconcileStripe
from cp_ops.hooks.rate_limit import CallLimiter
from cp_ops.hooks.stripe_client import StripeApi
from sandbox.services.stripe import StripeServer
from sandbox.stripe_api import DEFAULT_KEY
from sandbox.world import autopay, seed
from tests.integration.finance.charges.charge_world import SETTINGS
from tests.integration.finance.reconciliation.stripe_world import stripe_api


@pytest.fixture
def manifest(owner, stripe):
    planted = seed.seed_rows(owner)
    stripe.seed(autopay.stripe_specs(owner))
    return planted


@pytest.fixture
def ours(runner):
    connection = runner.connect()
    yield connection
    connection.close()


@pytest.mark.parametrize("full", [True, False])
def test_reconciliation_finds_what_was_planted_and_nothing_else(manifest, runner, stripe, ours, full):
    outcome = runner(ReconcileStripe(stripe_api(stripe)), full=full)
    rows = ours.execute("SELECT kind, subject FROM cp_ops.finding WHERE kind <> 'missing_locally'").fetchall()
    planted = {(item.kind, f"finance_invoices:{item.id}") for item in manifest.of(autopay.RECONCILE)}
    assert set(rows) == planted
    assert outcome.numbers["missing_locally"] == 2, "one payment of each firm in business"
    assert outcome.numbers["local"] == outcome.numbers["matched"] + len({subject for _, subject in planted})


def test_charging_answers_as_planted(manifest, runner, stripe, ours):
    outcome = runner.with_settings(**SETTINGS)(ProcessRecurringCharges(stripe_api(stripe)))
    assert outcome.done_kinds == {"charged": 2, "declined": 2, "declined_for_good": 2, "requires_action": 2}
    kinds = Counter(row[0] for row in ours.execute("SELECT kind FROM cp_ops.mail").fetchall())
    assert kinds == {"payment_declined": 2, "payment_needs_authentication": 2}
    assert outcome.done == len(manifest.of(autopay.CHARGES))


def test_the_service_is_a_stripe_that_airflow_finds(tmp_path):
    server = StripeServer(tmp_path / "stripe", dies_with_parent=True)
    with server:
        definition = json.loads(server.environment()["AIRFLOW_CONN_STRIPE_DEFAULT"])
        api = StripeApi(
            definition["password"], limiter=CallLimiter(0), base_url=definition["extra"]["base_url"]
        )
        assert definition["password"] == DEFAULT_KEY
        assert list(api.pages("invoices")) == []
        assert server.status().running
    assert not server.status().running


def test_the_service_holds_what_the_application_refers_to(tmp_path, owner, app_db):
    seed.seed_rows(owner)

    class App:
        database = app_db

    server = StripeServer(tmp_path / "stripe", application=App(), dies_with_parent=True)
    for _ in range(2):
        with server:
            api = StripeApi(DEFAULT_KEY, limiter=CallLimiter(0), base_url=server.url)
            listed = sum(len(page) for page in api.pages("invoices"))
    with psycopg.connect(app_db.owner_dsn) as connection:
        known = connection.execute(
            "SELECT count(*) FROM finance_invoices WHERE stripe_invoice_id <> ''"
        ).fetchone()[0]
    gone = 3
    assert listed == known - gone
