"""check_stale_deals against a real database: firms, days, and what every run has to do."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cp_ops.crm.stale_deals.job import CheckStaleDeals
from cp_ops.runtime.errors import CapExceededError, OptionsError, PreflightError, RowsFailedError
from tests.integration.crm.stale_deals.deal_world import everything_of, recipients


def test_a_run_for_one_firm_leaves_the_other_byte_identical(runner, owner, world, sales):
    other = world.firm()
    boss = other.user(role="admin")
    for firm, person in ((sales.firm, sales.partner), (other, boss)):
        firm.deal(owner=person, last_activity_days_ago=60)
        firm.deal(owner=person, last_activity_days_ago=1, is_stale=True).alert("stale", recipients=[person])
        firm.deal(owner=person, last_activity_days_ago=1, closes_in_days=2)
        firm.deal(owner=person, is_active=False).alert("close_date")
    before, own = everything_of(owner, other), everything_of(owner, sales.firm)

    outcome = runner(CheckStaleDeals(), firm_id=sales.firm.id)

    assert everything_of(owner, other) == before
    assert everything_of(owner, sales.firm) != own
    assert outcome.done == outcome.planned == 6


@pytest.mark.parametrize("status", ["suspended", "canceled"])
def test_a_firm_that_is_not_served_is_left_alone(runner, owner, world, status):
    firm = world.firm(status=status)
    firm.deal(last_activity_days_ago=60)
    before = everything_of(owner, firm)
    assert runner(CheckStaleDeals()).planned == 0
    assert everything_of(owner, firm) == before
    with pytest.raises(OptionsError, match=f"firm_id: firm {firm.id} is {status}"):
        runner(CheckStaleDeals(), firm_id=firm.id)


def test_a_firm_of_an_unknown_time_zone_fails_alone(runner, owner, world, sales):
    broken = world.firm(timezone="America/New_York")
    stuck = broken.deal(last_activity_days_ago=60)
    broken.update(timezone="Mars/Olympus_Mons")
    deal = sales.firm.deal(owner=sales.partner, last_activity_days_ago=60)
    with pytest.raises(RowsFailedError, match=rf"firm_firm:{broken.id}: .*'Mars/Olympus_Mons' is not known"):
        runner(CheckStaleDeals())
    assert deal.row()["is_stale"]
    assert not stuck.row()["is_stale"]
    assert (runner.last.failed, runner.last.done) == (1, 2)


def test_each_firm_has_its_own_today(runner, world):
    now = datetime(
        2026, 3, 10, 10, 30, tzinfo=UTC
    )  # the 11th on Kiritimati (UTC+14), the 9th in Pago Pago (UTC-11)
    dates = {
        "last_activity_date": datetime(2026, 2, 9, tzinfo=UTC).date(),
        "expected_close_date": datetime(2026, 9, 1, tzinfo=UTC).date(),
    }
    zones = ("Pacific/Kiritimati", "UTC", "Pacific/Pago_Pago")
    deals = [world.firm(timezone=zone).deal().update(**dates) for zone in zones]
    runner.now = now
    runner(CheckStaleDeals())
    assert [deal.row()["is_stale"] for deal in deals] == [True, False, False]


def test_the_same_under_row_level_security(world, owner, enable_row_level_security):
    told = {}
    for _ in range(3):
        firm = world.firm()
        person = firm.user(role="partner")
        told[firm.deal(owner=person, last_activity_days_ago=60)] = person.id
        firm.deal(owner=person, last_activity_days_ago=1, is_stale=True).alert("stale")
        firm.deal(is_active=False).alert("close_date")
    admins = world.firm()
    told[admins.deal(last_activity_days_ago=60)] = admins.user(role="owner").id
    under_policy = enable_row_level_security()

    preview = under_policy(CheckStaleDeals(), dry_run=True)
    outcome = under_policy(CheckStaleDeals())

    assert preview.plan_sha256 == outcome.plan_sha256
    assert dict(outcome.done_kinds) == {
        "mark_stale": 4,
        "open_stale_alert": 4,
        "unmark_stale": 3,
        "close_stale_alert": 3,
        "close_close_date_alert": 3,
    }
    assert all(recipients(owner, deal) == [user_id] for deal, user_id in told.items())
    assert under_policy(CheckStaleDeals()).planned == 0


def test_a_dry_run_plans_the_same_and_writes_only_its_outcome(runner, busy, written):
    before = written()
    preview = runner(CheckStaleDeals(), dry_run=True)
    changed = {table for table, rows in written().items() if rows != before.get(table, 0)}

    assert changed == {"cp_ops.job_run"}
    assert (preview.done, preview.planned) == (0, 5)
    assert preview.plan_sha256 == runner(CheckStaleDeals()).plan_sha256


def test_the_second_run_writes_only_its_outcome(runner, busy, written):
    assert runner(CheckStaleDeals()).done == 5
    before = written()
    outcome = runner(CheckStaleDeals())

    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}
    assert (outcome.planned, outcome.done) == (0, 0)


def test_more_marks_than_the_cap_stop_the_run_before_the_first(runner, owner, sales, busy):
    before = everything_of(owner, sales.firm)
    with pytest.raises(CapExceededError, match="stale_deals_max_changes to at least 2"):
        runner.with_settings(stale_deals_max_changes=1)(CheckStaleDeals())
    assert everything_of(owner, sales.firm) == before
    assert runner.with_settings(stale_deals_max_changes=2)(CheckStaleDeals()).done == 5


@pytest.mark.parametrize("days", [0, -1, "30", 1.5, True])
def test_days_must_be_a_positive_number(runner, busy, days):
    with pytest.raises(OptionsError, match=r"^days: "):
        runner(CheckStaleDeals(), days=days)


def test_a_table_that_lacks_a_column_is_named_before_anything_is_written(runner, owner, busy, written):
    owner.execute("ALTER TABLE crm_deals RENAME COLUMN stale_days_threshold TO threshold")
    before = written()
    with pytest.raises(
        PreflightError, match=r"check_stale_deals .* column crm_deals.stale_days_threshold is missing"
    ):
        runner(CheckStaleDeals())
    assert written() == before


def test_the_mark_of_the_jobs_own_closings_is_needed(runner, owner, busy, written):
    owner.execute("ALTER TABLE crm_deal_alert DROP COLUMN auto_dismiss_date")
    before = written()
    with pytest.raises(PreflightError, match=r"column crm_deal_alert.auto_dismiss_date is missing"):
        runner(CheckStaleDeals())
    assert written() == before


def test_one_audit_event_per_firm_tells_what_was_done(runner, owner, sales, busy, world):
    quiet = world.firm()
    runner(CheckStaleDeals())
    rows = owner.execute(
        "SELECT firm_id, category, action, target_model, metadata FROM firm_audit_events ORDER BY firm_id"
    ).fetchall()
    assert [row[:4] for row in rows] == [
        (firm.id, "SYSTEM", "check_stale_deals.run", "firm.Firm") for firm in (sales.firm, quiet)
    ]
    counts = {key: value for key, value in rows[0][4].items() if key != "run"}
    assert counts == {
        "mark_stale": 1,
        "open_stale_alert": 1,
        "unmark_stale": 1,
        "open_close_date_alert": 1,
        "close_close_date_alert": 1,
    }
    assert set(rows[1][4]) == {"run"}


def test_the_number_of_statements_does_not_grow_with_the_number_of_deals(runner, sales):
    statements = []
    for number in (10, 390):
        for _ in range(number):
            sales.firm.deal(owner=sales.partner, last_activity_days_ago=60, closes_in_days=3)
        outcome = runner(CheckStaleDeals())
        assert outcome.done == 3 * number
        statements.append(outcome.statements)
    assert statements[0] == statements[1]


def test_many_deals_go_in_batches_and_none_is_left(runner, owner, sales, monkeypatch):
    monkeypatch.setattr("cp_ops.crm.stale_deals.job.BATCH", 7)
    for _ in range(25):
        sales.firm.deal(owner=sales.partner, last_activity_days_ago=60)
    assert runner(CheckStaleDeals()).done == 50
    assert owner.execute("SELECT count(*) FROM crm_deals WHERE is_stale").fetchone() == (25,)
    assert owner.execute("SELECT count(DISTINCT deal_id), count(*) FROM crm_deal_alert").fetchone() == (
        25,
        25,
    )


def test_one_deal_that_the_database_refuses_does_not_stop_the_others(runner, owner, sales):
    deals = [sales.firm.deal(owner=sales.partner, last_activity_days_ago=60) for _ in range(9)]
    bad = deals[4]
    owner.execute(
        f"ALTER TABLE crm_deal_alert ADD CONSTRAINT not_this_one CHECK (deal_id <> {bad.id})",
    )
    with pytest.raises(
        RowsFailedError, match=rf"crm_deals:{bad.id}: crm/open_alerts: .*CheckViolation.*not_this_one"
    ):
        runner(CheckStaleDeals())
    assert [deal.row()["is_stale"] for deal in deals] == [deal is not bad for deal in deals]
    assert (runner.last.failed, runner.last.done) == (2, 16)
