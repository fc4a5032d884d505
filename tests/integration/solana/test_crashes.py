"""Killed at any moment, run twice at once, beside the application: every wallet ends right and every amount moves once."""

from __future__ import annotations

import contextlib
import random
import threading

import pytest

from cp_ops.runtime.errors import AlreadyRunningError, CpOpsError
from cp_ops.solana.job import SendFunds
from tests.integration.killed import exchanges, let_leases_expire, run_killed
from tests.integration.solana.stories import EVERYTHING, Story


@pytest.mark.parametrize("rounds", [20, pytest.param(200, marks=pytest.mark.nightly)])
def test_sigkill_at_any_moment_loses_nothing_and_moves_nothing_twice(shop, rounds):
    """At an exchange picked at random, or up to 30 ms into it, while the node is at work."""
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    story = Story(shop).tell()
    typical = exchanges(story.run_all)
    killed = open_afterwards = 0
    for number in range(rounds):
        story.tell()
        killed += run_killed(
            story.run_all,
            before=chance.randint(1, typical),
            seconds_later=chance.choice((0, chance.uniform(0.001, 0.03))),
        )
        open_afterwards += shop.own("SELECT count(*) FROM cp_ops.solana_transaction WHERE state = 'open'")[0][
            0
        ]
        let_leases_expire(shop.runner)
        if number % 5 == 4:
            story.converge()
            story.check()
    story.converge()
    story.check()
    assert killed > rounds / 2, f"seed {seed}"
    assert open_afterwards or rounds < 100, f"no kill ever hit a transaction under way, seed {seed}"


class KilledError(BaseException):
    """Stands for the process's end."""


POINTS = (
    "accept_payments",
    "expire_payments",
    "claim_keys",
    "record_transactions",
    "record_transfers",
    "resolve_transactions",
    "settle_wallets",
)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("point", POINTS)
def test_an_end_at_any_statement_is_put_right(shop, monkeypatch, point, moment):
    """Every statement that writes, before it runs and after it has run (its transaction is rolled back then)."""
    from cp_ops.runtime.database import Transaction

    story = Story(shop).tell()
    reached = []

    def dying(original):
        def run(self, name, *args, **params):
            if name != point or reached:
                return original(self, name, *args, **params)
            reached.append(name)
            if moment == "after":
                original(self, name, *args, **params)
            raise KilledError

        return run

    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "execute", dying(Transaction.execute))
        patch.setattr(Transaction, "rows", dying(Transaction.rows))
        for command in EVERYTHING:
            with contextlib.suppress(KilledError, CpOpsError):
                shop.run(command)
    assert reached
    let_leases_expire(shop.runner)
    story.converge()
    story.check()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", ["send", "statuses", "accounts", "latest_blockhash"])
def test_an_end_at_any_call_is_put_right(shop, monkeypatch, call, moment):
    from cp_ops.hooks.solana_rpc import SolanaRpc

    story = Story(shop).tell()
    original = getattr(SolanaRpc, call)
    reached = []

    def dying(self, *args, **options):
        if len(reached) == 1:
            reached.append(call)
            if moment == "after":
                original(self, *args, **options)
            raise KilledError
        reached.append(call)
        return original(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SolanaRpc, call, dying)
        for command in EVERYTHING:
            with contextlib.suppress(KilledError, CpOpsError):
                shop.run(command)
    assert len(reached) > 1
    let_leases_expire(shop.runner)
    story.converge()
    story.check()


@pytest.mark.parametrize("copies", [2, 8])
def test_several_runs_at_once_move_everything_once(shop, copies):
    story = Story(shop)
    for _ in range(3):
        story.tell()
    problems, skipped = [], []
    barrier = threading.Barrier(copies)

    def work(number):
        barrier.wait()
        for offset in range(len(EVERYTHING)):
            command = EVERYTHING[(number + offset) % len(EVERYTHING)]
            try:
                shop.run(command)
            except AlreadyRunningError as error:
                skipped.append(error)
            except CpOpsError as error:
                problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(copies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    story.converge()
    story.check()


def test_a_row_that_the_application_changes_meanwhile_is_left_alone(shop, monkeypatch):
    """The web process verifies a payment between our reading and our writing."""
    payment = shop.payment(status="confirmed", state="processing_funds")
    payment.pay("0.1", shop.sol)
    from cp_ops.hooks.solana_rpc import SolanaRpc

    original = SolanaRpc.latest_blockhash

    def meanwhile(self, commitment):
        payment.update(state="sent_funds")
        return original(self, commitment)

    monkeypatch.setattr(SolanaRpc, "latest_blockhash", meanwhile)
    outcome = shop.run(SendFunds)
    assert outcome.skip_reasons["held by another process"] == 1
    assert shop.own("SELECT count(*) FROM cp_ops.solana_transaction") == [(0,)]


def test_a_row_that_the_application_holds_locked_is_left_for_the_next_run(shop, app_db):
    import psycopg

    payment = shop.payment(expires_in=-60)
    with psycopg.connect(app_db.owner_dsn) as web:
        web.execute(
            "SELECT 1 FROM django_solana_payments_solanapayment WHERE id = %s FOR UPDATE", [payment.id]
        )
        outcome = shop.run(EVERYTHING[1])
    assert outcome.skip_reasons["changed meanwhile"] == 1
    assert payment.states() == ("initiated", "created")
    shop.run(EVERYTHING[1])
    assert payment.states() == ("expired", "payment_expired_and_wallet_closed")
