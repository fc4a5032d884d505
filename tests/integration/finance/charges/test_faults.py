"""Every Stripe call and every commit of process_recurring_charges, broken in every way; Stripe's ledger is the referee."""

from __future__ import annotations

import itertools
import random
import threading
from contextlib import contextmanager, suppress

import pytest

from cp_ops.finance.charges.job import ProcessRecurringCharges
from cp_ops.runtime.errors import AlreadyRunningError, CpOpsError, RemoteUnavailableError
from cp_ops.runtime.job import JobRun
from tests.integration.finance.charges.charge_world import api_of, at_stripe
from tests.integration.killed import exchanges, let_leases_expire, run_killed


class Crash(BaseException):
    """The process is gone: nothing catches this."""


class BreakingApi:
    """The real client, in which something happens at the n-th call."""

    def __init__(self, api, point, before=None, after=None):
        self.api, self.point, self.before, self.after = api, point, before, after
        self.made = 0

    @property
    def calls(self):
        return self.api.calls

    def get(self, *args, **kwargs):
        return self._broken(lambda: self.api.get(*args, **kwargs))

    def post(self, *args, **kwargs):
        return self._broken(lambda: self.api.post(*args, **kwargs))

    def pages(self, *args, **kwargs):
        return iter(self._broken(lambda: list(self.api.pages(*args, **kwargs))))

    def _broken(self, call):
        self.made += 1
        hit = self.made == self.point
        if hit and self.before:
            self.before()
        answer = call()
        if hit and self.after:
            self.after()
        return answer


def crash():
    raise Crash


def patient(charging):
    """Give the real client as a deployment has it; the pauses of its own are left out."""
    return api_of(charging.stripe, sleep=lambda _: None)


def converge(charging, ours):
    """Run until nothing is open; a day passes on the way, after which Stripe has forgotten its keys."""
    charging.stripe.faults.clear()
    for round_ in range(5):
        with suppress(CpOpsError):
            charging.run()
        still_open = ours.execute(
            "SELECT count(*) FROM cp_ops.charge_intent WHERE state NOT IN ('succeeded', 'failed', 'requires_action')"
            " OR (state = 'succeeded' AND stripe_invoice <> '' AND attached IS NULL)"
        ).fetchone()
        due = charging.run(dry_run=True).planned_kinds["charge"]
        if still_open == (0,) and not due:
            return
        charging.pass_time(hours=25 if round_ == 1 else 1)
    pytest.fail(f"not settled after five runs: {charging.intents(ours)}")


def run_for_a_day(charging):
    """Run after an hour, after a day, by which Stripe has forgotten its keys, and after another hour; nothing is broken."""
    charging.stripe.faults.clear()
    for hours in (1, 25, 1):
        charging.pass_time(hours=hours)
        with suppress(CpOpsError):
            charging.run()


FAULTS = {
    "crash before": None,
    "crash after": None,
    "timeout before it arrived": ("drop", "before", 1),
    "timeout that succeeded": ("drop", "after", 1),
    "timeout that succeeded, then 429 for ever": ("drop", "after", 1),
    "429 once": ("rate_limit", "before", 1),
    "429 for ever": ("rate_limit", "before", None),
    "500 before": ("error", "before", 1),
    "500 after": ("error", "after", 1),
    "500 that Stripe remembers": ("error", "after", 1),
}


def breaking(charging, fault, point):
    """Give the real client with a fault at a call."""
    if FAULTS[fault] is None:
        return BreakingApi(patient(charging), point, **{fault.split()[1]: crash})
    kind, when, count = FAULTS[fault]
    options = {"remembered": True} if "remembers" in fault else {}

    def strike():
        charging.stripe.faults.add("*", kind, when=when, count=count, **options)
        if "then 429" in fault:
            charging.stripe.faults.add("*", "rate_limit", count=None)

    return BreakingApi(patient(charging), point, before=strike)


def two_invoices(charging, outcomes=()):
    """One that only we know, one that Stripe has as an invoice, too."""
    return [
        charging.payer(outcomes=outcomes).invoice(),
        at_stripe(charging, charging.payer(outcomes=outcomes))[0],
    ]


@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_broken_converges_to_one_charge(fault, charging, owner, ours):
    for point in itertools.count(1):
        invoices = two_invoices(charging)
        api = breaking(charging, fault, point)
        with suppress(CpOpsError, Crash):
            charging.run(api=api)
        converge(charging, ours)
        charging.referee(owner)
        assert [invoice.row()["status"] for invoice in invoices] == ["paid", "paid"], f"call {point}"
        if api.made < point:
            break
        charging.pass_time(hours=1)
    assert point > 6, "each call of a run was broken once"


@pytest.mark.parametrize(
    "outcome", ["insufficient_funds", "stolen_card", "authentication_required", "processing"]
)
@pytest.mark.parametrize(
    "fault", ["crash before", "crash after", "timeout that succeeded", "500 that Stripe remembers"]
)
def test_every_call_broken_with_another_answer_converges(fault, outcome, charging, owner, ours):
    for point in itertools.count(1):
        before = len(charging.stripe.ledger)
        invoice = charging.payer(outcomes=(outcome,)).invoice()
        api = breaking(charging, fault, point)
        with suppress(CpOpsError, Crash):
            charging.run(api=api)
        run_for_a_day(charging)
        charging.referee(owner)
        attempts = [
            row for row in charging.intents(ours) if row[0] == invoice.id and row[3] != "never_arrived"
        ]
        assert len(attempts) == 1, attempts
        if outcome == "processing":
            charging.pass_time(days=6)
            charging.run()
            charging.referee(owner)
            assert len(charging.stripe.ledger) == before + 1
        else:
            assert len(charging.stripe.ledger) == before
            invoice.update(autopay_opt_in=False, status="cancelled")
            charging.run()
        if api.made < point:
            break
        charging.pass_time(hours=1)
    assert point > 2


@pytest.mark.parametrize("paid_meanwhile", [False, True], ids=["still owed", "paid at Stripe meanwhile"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_of_a_second_attempt_broken_converges_to_one_charge(
    fault, paid_meanwhile, charging, owner
):
    """The first one's payment can still be paid until it is canceled."""
    for point in itertools.count(1):
        who = charging.payer(outcomes=("insufficient_funds",))
        invoice = who.invoice()
        charging.run()
        charging.pass_time(days=3)
        if paid_meanwhile:
            first = invoice.row()["stripe_payment_intent_id"]
            api = charging.stripe.client().v1.payment_intents
            api.confirm(first, {"payment_method": who.method})
        api = breaking(charging, fault, point)
        with suppress(CpOpsError, Crash):
            charging.run(api=api)
        run_for_a_day(charging)
        charging.referee(owner)
        assert invoice.row()["status"] == "paid", f"call {point}"
        assert len(charging.stripe.ledger) == point, f"call {point}"
        if api.made < point:
            break
        charging.pass_time(hours=1)
    assert point > 3


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "outcomes",
    [(), ("insufficient_funds",), ("authentication_required",)],
    ids=["charged", "declined", "authentication"],
)
def test_every_commit_broken_converges(when, outcomes, charging, owner, ours, monkeypatch):
    original, counter = JobRun.write, itertools.count(1)
    point, made = 0, 0

    @contextmanager
    def write(self, tenant=None):
        nonlocal made
        made = next(counter)
        number = made
        with original(self, tenant) as tx:
            yield tx
            if number == point and when == "before":
                raise Crash
        if number == point and when == "after":
            raise Crash

    monkeypatch.setattr(JobRun, "write", write)
    for target in itertools.count(1):
        invoices = two_invoices(charging, outcomes)
        counter, made, point = itertools.count(1), 0, target
        with suppress(CpOpsError, Crash):
            charging.run()
        reached, point = made, 0
        converge(charging, ours)
        charging.referee(owner)
        for invoice in invoices:
            assert invoice.row()["status"] == (
                "sent" if outcomes == ("authentication_required",) else "failed" if outcomes else "paid"
            )
            attempts = [row for row in charging.intents(ours) if row[0] == invoice.id]
            assert len(attempts) == 1, attempts
        if outcomes:
            for invoice in invoices:
                invoice.update(autopay_opt_in=False, status="cancelled")
            charging.run()
        if reached < target:
            break
        charging.pass_time(minutes=1)
    assert target > 5


# -- several at once ---------------------------------------------------------------------------------------------------------


def eight_at_once(charging, job_class=ProcessRecurringCharges):
    """Run eight copies in eight threads; gives what they raised."""
    raised = []

    def copy(number):
        try:
            charging.runner()(job_class(api_of(charging.stripe)), holder=f"copy-{number}")
        except Exception as error:  # noqa: BLE001 - all of it is looked at
            raised.append(error)

    threads = [threading.Thread(target=copy, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_eight_copies_at_once_charge_each_invoice_once(charging, owner):
    invoices = [charging.payer().invoice() for _ in range(10)]
    raised = eight_at_once(charging)
    assert {type(error) for error in raised} <= {AlreadyRunningError}
    assert all(invoice.row()["status"] == "paid" for invoice in invoices)
    charging.referee(owner)


def test_eight_copies_without_the_lease_still_charge_each_invoice_once(charging, owner, ours):
    """The lease is not what a client's money depends on."""
    numbers = itertools.count(1)

    class Unleased(ProcessRecurringCharges):
        def scope(self, options):
            return f"copy-{next(numbers)}"

    for _ in range(10):
        charging.payer().invoice()
    raised = eight_at_once(charging, Unleased)
    assert all(isinstance(error, CpOpsError) for error in raised)
    assert not [error for error in raised if "deadlock" in str(error)]
    converge(charging, ours)
    charging.referee(owner)
    assert len(charging.stripe.ledger) == 10


# -- killed --------------------------------------------------------------------------------------------------------------------


def kill_rounds(charging, owner, rounds):
    """Kill a run at an exchange picked at random, or up to 30 ms into it while Stripe is at work, round after round."""
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    charging.stripe.settings.latency = 0.02

    def some_due():
        for _ in range(3):
            charging.payer().invoice()

    def run():
        """What earlier kills left over is more than usual: caps of one's own; Stripe may still be at work on a charge."""
        with suppress(RemoteUnavailableError):
            charging.run(max_charges=10_000, max_total="USD=1000000000")

    some_due()
    typical = exchanges(run)
    killed = 0
    for _ in range(rounds):
        some_due()
        killed += run_killed(
            run,
            before=chance.randint(1, typical),
            seconds_later=chance.choice((0, chance.uniform(0.001, 0.03))),
        )
        let_leases_expire(charging.runner())
    run()
    run()
    charging.referee(owner)
    assert len(charging.stripe.ledger) == 3 * (rounds + 1), f"seed {seed}"
    assert owner.execute("SELECT count(*) FROM finance_invoices WHERE status <> 'paid'").fetchone() == (0,)
    assert killed > rounds / 2, f"seed {seed}"


@pytest.mark.parametrize(
    "rounds", [20, pytest.param(200, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])]
)
def test_killed_again_and_again_every_invoice_is_charged_once(charging, owner, rounds):
    kill_rounds(charging, owner, rounds)
