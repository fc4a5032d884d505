"""What becomes of a deal and its alerts, and who is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cp_ops.crm.stale_deals.job import CheckStaleDeals
from cp_ops.crm.stale_deals.plan import NO_RECIPIENT
from tests.integration.crm.stale_deals.deal_world import alerts, recipients, types


def test_a_silent_deal_is_marked_and_its_owner_and_team_are_alerted(runner, owner, sales):
    deal = sales.firm.deal(
        "Gone silent",
        owner=sales.partner,
        team=[sales.manager, sales.partner],
        last_activity_days_ago=45,
        created_days_ago=90,
        updated_at=sales.firm.world.ago(days=45),
    )
    outcome = runner(CheckStaleDeals())

    row = deal.row()
    assert row["is_stale"]
    assert row["updated_at"] > sales.firm.world.ago(minutes=10)
    [alert] = alerts(owner, deal)
    since = sales.firm.day(-45)
    assert (alert["alert_type"], alert["priority"]) == ("stale", "medium")
    assert alert["title"] == f"No activity since {since}: Gone silent"
    assert alert["message"] == (
        f'Deal "Gone silent" has had no activity since {since}: 45 days on {sales.firm.day()}, its threshold is 30 days. '
        "Log an activity, or close the deal."
    )
    assert (alert["is_sent"], alert["is_acknowledged"], alert["is_dismissed"]) == (False, False, False)
    assert (alert["sent_at"], alert["acknowledged_at"], alert["acknowledged_by_id"]) == (None, None, None)
    assert alert["created_at"] == alert["updated_at"] == row["updated_at"]
    assert recipients(owner, deal) == sorted([sales.partner.id, sales.manager.id])
    assert dict(outcome.done_kinds) == {"mark_stale": 1, "open_stale_alert": 1}
    assert (outcome.planned, outcome.skipped, outcome.failed) == (2, 0, 0)


@pytest.mark.parametrize(
    ("columns", "days", "stale"),
    [
        ({"last_activity_days_ago": 29}, None, False),
        ({"last_activity_days_ago": 30}, None, True),
        ({"last_activity_days_ago": 14, "threshold_days": 14}, None, True),
        ({"last_activity_days_ago": 44, "threshold_days": 45}, None, False),
        ({"last_activity_days_ago": 30, "threshold_days": 0}, None, True),
        ({"last_activity_days_ago": 29, "threshold_days": -7}, None, False),
        ({"last_activity_days_ago": 10, "threshold_days": 90}, 10, True),
        ({"last_activity_days_ago": 40, "threshold_days": 30}, 41, False),
        ({"created_days_ago": 31}, None, True),
        ({"created_days_ago": 28}, None, False),
        ({"last_activity_days_ago": -3, "created_days_ago": 90}, None, False),
    ],
)
def test_the_threshold_is_the_runs_or_the_deals_or_thirty(runner, sales, columns, days, stale):
    deal = sales.firm.deal(owner=sales.partner, **columns)
    runner(CheckStaleDeals(), **({"days": days} if days else {}))
    assert deal.row()["is_stale"] is stale


def test_a_deal_that_is_active_again_is_unmarked_and_its_alerts_are_closed(runner, owner, sales):
    deal = sales.firm.deal(owner=sales.partner, last_activity_days_ago=2, created_days_ago=90, is_stale=True)
    seen = deal.alert("stale", recipients=[sales.partner], age_days=21, is_acknowledged=True)
    other = deal.alert("value_change", age_days=21)
    outcome = runner(CheckStaleDeals())

    assert not deal.row()["is_stale"]
    assert seen.row()["is_dismissed"]
    assert seen.row()["updated_at"] == deal.row()["updated_at"]
    assert seen.row()["created_at"] < seen.row()["updated_at"]
    assert types(owner, deal) == ["value_change"]
    assert other.row()["updated_at"] == sales.firm.world.now
    assert dict(outcome.done_kinds) == {"unmark_stale": 1, "close_stale_alert": 1}


def test_going_silent_again_after_an_activity_is_alerted_again(runner, owner, sales):
    deal = sales.firm.deal(owner=sales.partner, last_activity_days_ago=40, created_days_ago=200)
    runner(CheckStaleDeals())
    deal.update(last_activity_date=sales.firm.day())
    runner(CheckStaleDeals())
    assert types(owner, deal) == []

    runner.now = datetime.now(UTC) + timedelta(days=31)
    runner(CheckStaleDeals())
    assert types(owner, deal) == ["stale"]
    assert len(alerts(owner, deal, open_only=False)) == 2


def test_a_stale_deal_without_an_open_alert_gets_one(runner, owner, sales):
    deal = sales.firm.deal(owner=sales.partner, last_activity_days_ago=60, created_days_ago=90, is_stale=True)
    before = deal.row()
    runner(CheckStaleDeals())
    assert types(owner, deal) == ["stale"]
    assert deal.row() == before


def test_an_acknowledged_alert_is_still_the_open_one(runner, owner, sales):
    deal = sales.firm.deal(owner=sales.partner, last_activity_days_ago=60, created_days_ago=90, is_stale=True)
    deal.alert("stale", age_days=5, is_acknowledged=True, acknowledged_by_id=sales.partner.id)
    runner(CheckStaleDeals())
    assert len(alerts(owner, deal, open_only=False)) == 1


def test_an_alert_dismissed_in_this_idle_spell_stays_dismissed(runner, owner, sales):
    dismissed = sales.firm.deal(
        owner=sales.partner, last_activity_days_ago=60, created_days_ago=200, is_stale=True
    )
    dismissed.alert("stale", age_days=20, is_dismissed=True)
    earlier = sales.firm.deal(
        owner=sales.partner, last_activity_days_ago=60, created_days_ago=200, is_stale=True
    )
    earlier.alert("stale", age_days=70, is_dismissed=True)
    runner(CheckStaleDeals())
    assert types(owner, dismissed) == []
    assert types(owner, earlier) == ["stale"]


def test_an_alert_that_a_more_patient_run_closed_comes_back_with_the_next_daily_run(runner, owner, sales):
    deal = sales.firm.deal(owner=sales.partner, last_activity_days_ago=40, created_days_ago=200)
    runner(CheckStaleDeals())
    runner(CheckStaleDeals(), days=60)
    assert (deal.row()["is_stale"], types(owner, deal)) == (False, [])
    outcome = runner(CheckStaleDeals())
    assert (deal.row()["is_stale"], types(owner, deal)) == (True, ["stale"])
    assert dict(outcome.done_kinds) == {"mark_stale": 1, "open_stale_alert": 1}
    assert recipients(owner, deal) == [sales.partner.id] * 2


@pytest.mark.parametrize("closed", [{"is_lost": True}, {"is_won": True}, {"is_active": False}])
def test_a_deal_that_was_closed_by_mistake_gets_its_alerts_back_when_it_is_reopened(
    runner, owner, sales, closed
):
    deal = sales.firm.deal(
        owner=sales.partner, last_activity_days_ago=40, created_days_ago=200, closes_in_days=3
    )
    runner(CheckStaleDeals())
    deal.update(**closed)
    runner(CheckStaleDeals())
    assert types(owner, deal) == []
    deal.update(**{column: not value for column, value in closed.items()})
    runner(CheckStaleDeals())
    assert sorted(types(owner, deal)) == ["close_date", "stale"]


@pytest.mark.parametrize("closes_in_days", [5, -3])
def test_a_close_date_that_moves_away_and_back_is_alerted_again(runner, owner, sales, closes_in_days):
    deal = sales.firm.deal(owner=sales.partner, last_activity_days_ago=0, closes_in_days=closes_in_days)
    runner(CheckStaleDeals())
    deal.update(expected_close_date=sales.firm.day(40))
    runner(CheckStaleDeals())
    assert types(owner, deal) == []
    deal.update(expected_close_date=sales.firm.day(closes_in_days))
    runner(CheckStaleDeals())
    assert types(owner, deal) == ["close_date"]


def test_an_alert_that_the_job_closes_says_when_it_was_dismissed_automatically(runner, owner, sales):
    deal = sales.firm.deal(last_activity_days_ago=1, is_stale=True)
    left_open = deal.alert("stale", auto_dismiss_date=sales.firm.world.ago(days=-9))
    custom = deal.alert("custom")
    runner(CheckStaleDeals())
    row = left_open.row()
    assert row["is_dismissed"]
    assert row["auto_dismiss_date"] == row["updated_at"] == deal.row()["updated_at"]
    assert (custom.row()["is_dismissed"], custom.row()["auto_dismiss_date"]) == (False, None)


def test_what_a_person_dismissed_stays_dismissed_whatever_the_job_closes_after_it(runner, owner, sales):
    deal = sales.firm.deal(
        owner=sales.partner, last_activity_days_ago=40, created_days_ago=200, closes_in_days=3
    )
    runner(CheckStaleDeals())
    owner.execute(
        "UPDATE crm_deal_alert SET is_dismissed = true, updated_at = now() WHERE deal_id = %s", [deal.id]
    )
    runner(CheckStaleDeals(), days=60)
    deal.update(is_lost=True)
    runner(CheckStaleDeals())
    deal.update(is_lost=False)
    runner(CheckStaleDeals())
    assert deal.row()["is_stale"]
    assert types(owner, deal) == []


def test_an_alert_that_a_person_dismissed_before_its_automatic_date_stays_dismissed(runner, owner, sales):
    deal = sales.firm.deal(
        owner=sales.partner, last_activity_days_ago=60, created_days_ago=200, is_stale=True
    )
    ago = sales.firm.world.ago
    deal.alert(
        "stale", age_days=20, is_dismissed=True, updated_at=ago(days=15), auto_dismiss_date=ago(days=10)
    )
    runner(CheckStaleDeals())
    assert types(owner, deal) == []


@pytest.mark.parametrize(
    ("closes_in_days", "title", "priority"),
    [
        (7, "Closes on", "low"),
        (0, "Closes on", "medium"),
        (-4, "Should have closed on", "high"),
        (8, None, None),
    ],
)
def test_a_close_date_that_is_near_or_past_is_alerted(runner, owner, sales, closes_in_days, title, priority):
    deal = sales.firm.deal(
        "Larch", owner=sales.partner, last_activity_days_ago=0, closes_in_days=closes_in_days
    )
    runner(CheckStaleDeals())
    found = [(alert["title"], alert["priority"], alert["alert_type"]) for alert in alerts(owner, deal)]
    day = sales.firm.day(closes_in_days)
    assert found == ([(f"{title} {day}: Larch", priority, "close_date")] if title else [])
    assert recipients(owner, deal) == ([sales.partner.id] if title else [])
    assert not deal.row()["is_stale"]


def test_a_close_date_alert_closes_when_the_date_moves_away(runner, owner, sales):
    deal = sales.firm.deal(owner=sales.partner, last_activity_days_ago=0, closes_in_days=5)
    runner(CheckStaleDeals())
    assert types(owner, deal) == ["close_date"]
    deal.update(expected_close_date=sales.firm.day(40))
    runner(CheckStaleDeals())
    assert types(owner, deal) == []


def test_a_deal_can_be_stale_and_overdue(runner, owner, sales):
    deal = sales.firm.deal(
        owner=sales.partner, last_activity_days_ago=60, closes_in_days=-20, created_days_ago=90
    )
    runner(CheckStaleDeals())
    assert sorted(types(owner, deal)) == ["close_date", "stale"]
    assert recipients(owner, deal) == [sales.partner.id, sales.partner.id]


@pytest.mark.parametrize("closed", [{"is_won": True}, {"is_lost": True}, {"is_active": False}])
def test_a_closed_deal_keeps_its_row_and_loses_its_open_alerts(runner, owner, sales, closed):
    deal = sales.firm.deal(last_activity_days_ago=90, closes_in_days=-30, is_stale=True, **closed)
    for kind in ("stale", "close_date", "custom"):
        deal.alert(kind)
    before = deal.row()
    outcome = runner(CheckStaleDeals())
    assert types(owner, deal) == ["custom"]
    assert deal.row() == before
    assert dict(outcome.done_kinds) == {"close_stale_alert": 1, "close_close_date_alert": 1}


@pytest.mark.parametrize("closed", [{"is_won": True}, {"is_lost": True}, {"is_active": False}])
def test_a_closed_deal_is_never_marked_or_alerted(runner, owner, sales, closed):
    deal = sales.firm.deal(last_activity_days_ago=90, closes_in_days=-30, **closed)
    before = deal.row()
    assert runner(CheckStaleDeals()).planned == 0
    assert deal.row() == before
    assert alerts(owner, deal, open_only=False) == []


def test_a_name_as_long_as_its_column_and_full_of_signs_fits(runner, owner, sales):
    name = ("50% off; '\"\\ {} %s Ω " * 20)[:255]
    deal = sales.firm.deal(name, owner=sales.partner, last_activity_days_ago=60)
    runner(CheckStaleDeals())
    [alert] = alerts(owner, deal)
    assert len(alert["title"]) == 255
    assert name in alert["message"]


def test_only_active_people_of_the_same_firm_are_told(runner, owner, world, sales):
    left = sales.firm.user("Lee", is_active=False)
    suspended = sales.firm.user("Sue", membership={"is_active": False})
    stranger = world.firm().user("Stan", role="admin")
    nobodys = world.user("Nora")
    deal = sales.firm.deal(
        owner=left, team=[suspended, stranger, nobodys, sales.manager], last_activity_days_ago=60
    )
    runner(CheckStaleDeals())
    assert recipients(owner, deal) == [sales.manager.id]


@pytest.mark.parametrize("role", ["firm_admin", "owner", "admin"])
def test_a_deal_that_nobody_active_works_on_goes_to_the_firms_active_admins(runner, owner, world, role):
    firm = world.firm()
    admin = firm.user(role=role)
    firm.user(role=role, is_active=False)
    firm.user(role=role, membership={"is_active": False})
    firm.user(role="partner")
    world.firm().user(role=role)
    gone = firm.deal(owner=firm.user(is_active=False), last_activity_days_ago=60)
    unowned = firm.deal(last_activity_days_ago=60)
    outcome = runner(CheckStaleDeals())
    assert recipients(owner, gone) == recipients(owner, unowned) == [admin.id]
    assert outcome.skipped == 0


def test_without_anybody_to_tell_the_alert_is_opened_and_the_outcome_says_so(runner, owner, world):
    firm = world.firm()
    deal = firm.deal(owner=firm.user(is_active=False), last_activity_days_ago=60)
    outcome = runner(CheckStaleDeals())
    assert types(owner, deal) == ["stale"]
    assert recipients(owner, deal) == []
    assert outcome.skip_reasons == {NO_RECIPIENT: 1}
