"""A preview charges nothing; a cap stops the run before the first charge."""

from __future__ import annotations

import pytest

from cp_ops.runtime.errors import CapExceededError, OptionsError, PlanChangedError, SettingError


def test_a_dry_run_lists_who_would_be_charged_what_and_writes_only_its_outcome(charging, written, caplog):
    invoice = charging.payer().invoice()
    charging.payer().invoice("99.00", currency="EUR")
    before = written()
    with caplog.at_level("INFO"):
        preview = charging.run(dry_run=True)
    assert {table for table, rows in written().items() if rows != before.get(table, 0)} == {"cp_ops.job_run"}
    assert (preview.planned, preview.done) == (2, 0)
    assert (preview.numbers["total_EUR"], preview.numbers["total_USD"]) == ("99.00", "200.00")
    assert f"charge: finance_invoices:{invoice.id} firm {charging.firm.id}: 200.00 USD" in caplog.text
    assert len(charging.stripe.ledger) == 0
    assert charging.run(expected_plan=f"sha256:{preview.plan_sha256}").done == 2


def test_a_plan_that_changed_since_it_was_approved_charges_nothing(charging):
    charging.payer().invoice()
    approved = charging.run(dry_run=True).plan_sha256
    charging.payer().invoice()
    with pytest.raises(PlanChangedError):
        charging.run(expected_plan=approved)
    assert len(charging.stripe.ledger) == 0


@pytest.mark.parametrize("cap", [{"max_charges": 1}, {"max_total": "USD=399.99"}, {"max_charges": 0}])
def test_a_cap_stops_the_run_before_the_first_charge(charging, ours, cap):
    charging.payer().invoice()
    charging.payer().invoice()
    with pytest.raises(CapExceededError, match=next(iter(cap))):
        charging.run(**cap)
    assert (len(charging.stripe.ledger), charging.intents(ours)) == (0, [])


def test_more_than_three_times_the_median_of_the_last_runs_stops_the_run(charging):
    charging.settings = {"charges_never_unusual": 1}
    for _ in range(5):
        charging.payer().invoice()
        charging.run()
    for _ in range(4):
        charging.payer().invoice("10.00")
    with pytest.raises(CapExceededError, match="median of the last 5 runs is 1"):
        charging.run()
    assert len(charging.stripe.ledger) == 5
    charging.run(max_charges=4, max_total="USD=40")
    assert len(charging.stripe.ledger) == 9


@pytest.mark.parametrize("capped", [{"max_charges": 4}, {"max_total": "USD=400"}])
def test_one_cap_of_the_operators_leaves_the_other_measured_by_what_is_usual(charging, capped):
    charging.settings = {"charges_never_unusual": 1}
    for _ in range(5):
        charging.payer().invoice("10.00")
        charging.run()
    for _ in range(4):
        charging.payer().invoice("100.00")
    with pytest.raises(CapExceededError, match="out of the ordinary"):
        charging.run(**capped)
    assert len(charging.stripe.ledger) == 5


def test_a_single_charge_of_an_unusual_amount_stops_the_run(charging):
    for _ in range(5):
        charging.payer().invoice()
        charging.run()
    charging.payer().invoice("90000.00")
    with pytest.raises(CapExceededError, match=r"90,000\.00 USD, more than 3 times"):
        charging.run()
    preview = charging.run(dry_run=True, max_charges=1, max_total="USD=90000")
    assert charging.run(expected_plan=preview.plan_sha256).done == 1


def test_a_currency_that_max_total_does_not_name_is_refused(charging, ours):
    charging.payer().invoice("90000.00", currency="EUR")
    charging.payer().invoice("50.00")
    with pytest.raises(
        CapExceededError, match=r"90,000\.00 EUR is in a currency that max_total does not name"
    ):
        charging.run(max_total="USD=100", max_charges=10)
    assert (len(charging.stripe.ledger), charging.intents(ours)) == (0, [])
    assert charging.run(max_total="USD=100, EUR=90000", max_charges=10).done == 2


@pytest.mark.parametrize("stop", [{"max_charges": 1}, {"max_total": "USD=1"}, {"expected_plan": "0" * 64}])
def test_what_is_under_way_is_settled_before_a_cap_stops_the_new_charges(charging, owner, stop):
    under_way = charging.payer(token="pm_usBankAccount").invoice()
    charging.run()
    charging.pass_time(days=5)
    due = [charging.payer().invoice() for _ in range(2)]
    with pytest.raises((CapExceededError, PlanChangedError)):
        charging.run(**stop)
    assert under_way.row()["status"] == "paid"
    assert [invoice.row()["status"] for invoice in due] == ["sent", "sent"]
    charging.referee(owner)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_total": "lots"}, "max_total"),
        ({"max_charges": -1}, "max_charges"),
        ({"expected_plan": "abc"}, "expected_plan"),
    ],
)
def test_a_wrong_option_is_named(charging, options, field):
    with pytest.raises(OptionsError, match=f"^{field}"):
        charging.run(**options)


def test_a_missing_sender_is_an_error_before_anything_is_charged(charging):
    charging.payer().invoice()
    charging.settings = {"default_from_email": ""}
    with pytest.raises(SettingError, match="default_from_email"):
        charging.run()
