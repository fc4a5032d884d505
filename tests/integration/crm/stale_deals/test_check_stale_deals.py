"""check_stale_deals against a real database."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import psycopg
import pytest

from cp_ops.crm.stale_deals.job import CHANGED, CheckStaleDeals
from cp_ops.crm.stale_deals.plan import NO_RECIPIENT
from cp_ops.runtime.errors import (
    AlreadyRunningError,
    CapExceededError,
    OptionsError,
    PreflightError,
    RowsFailedError,
)
from cp_ops.runtime.job import JobRun


def alerts(owner, deal, *, open_only=True):
    """The deal's alerts, oldest first."""
    condition = "AND NOT is_dismissed" if open_only else ""
    with owner.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(
            f"SELECT * FROM crm_deal_alert WHERE deal_id = %s {condition} ORDER BY id", [deal.id]
        ).fetchall()


def types(owner, deal):
    return [alert["alert_type"] for alert in alerts(owner, deal)]


def recipients(owner, deal):
    rows = owner.execute(
        "SELECT user_id FROM crm_deal_alert_recipients WHERE dealalert_id IN"
        " (SELECT id FROM crm_deal_alert WHERE deal_id = %s) ORDER BY user_id",
        [deal.id],
    )
    return [row[0] for row in rows]


def everything_of(owner, firm):
    """Every row that belongs to a firm and that this job could reach."""
    scoped = ("crm_deals", "firm_membership", "firm_audit_events", "crm_pipelines")
    found = {
        table: owner.execute(
            f"SELECT t::text FROM {table} AS t WHERE firm_id = %s ORDER BY id", [firm.id]
        ).fetchall()
        for table in scoped
    }
    of_deals = "SELECT id FROM crm_deals WHERE firm_id = %s"
    for table, condition in (
        ("crm_deal_alert", f"deal_id IN ({of_deals})"),
        ("crm_deals_team_members", f"deal_id IN ({of_deals})"),
        (
            "crm_deal_alert_recipients",
            f"dealalert_id IN (SELECT id FROM crm_deal_alert WHERE deal_id IN ({of_deals}))",
        ),
    ):
        found[table] = owner.execute(
            f"SELECT t::text FROM {table} AS t WHERE {condition} ORDER BY id", [firm.id]
        ).fetchall()
    return found


@pytest.fixture
def sales(world):
    """A firm with an admin, a partner who owns deals, and a manager."""
    firm = world.firm()
    return SimpleNamespace(
        firm=firm,
        admin=firm.user("Ada", role="admin"),
        partner=firm.user("Pat", role="partner"),
        manager=firm.user("Max", role="manager"),
    )


@pytest.fixture
def between_plan_and_apply(monkeypatch):
    """Run something after a job's plan was accepted and before it is applied."""

    def arrange(what):
        accept = JobRun.accept

        def accept_then(run, plan, **kwargs):
            applies = accept(run, plan, **kwargs)
            what()
            return applies

        monkeypatch.setattr(JobRun, "accept", accept_then)

    return arrange


# -- what becomes of a deal ------------------------------------------------------------------------------------------


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


# -- who is told -----------------------------------------------------------------------------------------------------


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


# -- firms and days --------------------------------------------------------------------------------------------------


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


# -- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def busy(sales):
    """One deal of each fate."""
    firm, partner = sales.firm, sales.partner
    return SimpleNamespace(
        silent=firm.deal(owner=partner, team=[sales.manager], last_activity_days_ago=60),
        revived=firm.deal(owner=partner, last_activity_days_ago=1, is_stale=True),
        closing=firm.deal(owner=partner, last_activity_days_ago=1, closes_in_days=3),
        won=firm.deal(owner=partner, is_won=True).alert("close_date"),
        future=firm.deal(owner=partner, last_activity_days_ago=-5),
    )


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


# -- others write at the same time -----------------------------------------------------------------------------------


def test_what_changes_between_plan_and_apply_is_left_alone(
    runner, owner, sales, busy, between_plan_and_apply
):
    """Silent: an activity; revived: it closes; closing: its date moves; won: reopened."""
    won = owner.execute("SELECT deal_id FROM crm_deal_alert WHERE id = %s", [busy.won.id]).fetchone()[0]

    def meanwhile():
        busy.silent.update(last_activity_date=sales.firm.day())
        busy.revived.update(is_lost=True)
        busy.closing.update(expected_close_date=sales.firm.day(90))
        owner.execute("UPDATE crm_deals SET is_won = false WHERE id = %s", [won])

    between_plan_and_apply(meanwhile)
    outcome = runner(CheckStaleDeals())

    assert outcome.skip_reasons[CHANGED] == 5
    assert outcome.done == 0
    assert not busy.silent.row()["is_stale"]
    assert busy.revived.row()["is_stale"]
    assert alerts(owner, busy.silent) == alerts(owner, busy.closing) == []
    assert not busy.won.row()["is_dismissed"]


def test_an_alert_that_the_application_opens_meanwhile_is_not_doubled(
    runner, owner, sales, between_plan_and_apply
):
    deal = sales.firm.deal(owner=sales.partner, last_activity_days_ago=60)
    between_plan_and_apply(lambda: deal.alert("stale", recipients=[sales.partner]))
    outcome = runner(CheckStaleDeals())
    assert types(owner, deal) == ["stale"]
    assert dict(outcome.done_kinds) == {"mark_stale": 1}
    assert outcome.skip_reasons == {CHANGED: 1}


def test_a_deal_that_another_session_is_saving_is_judged_by_what_it_saved(
    runner, owner, app_db, sales, between_plan_and_apply
):
    """The batch waits for the row lock, then sees the new activity instead of overwriting it."""
    saved = sales.firm.deal(owner=sales.partner, last_activity_days_ago=60)
    other = sales.firm.deal(owner=sales.partner, last_activity_days_ago=60)
    application = psycopg.connect(app_db.owner_dsn)

    def commit_once_the_job_waits():
        for _ in range(200):
            waiting = owner.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            ).fetchone()[0]
            if waiting:
                break
            threading.Event().wait(0.05)
        application.commit()

    saver = threading.Thread(target=commit_once_the_job_waits)

    def start_saving():
        application.execute(
            "UPDATE crm_deals SET last_activity_date = %s WHERE id = %s", [sales.firm.day(), saved.id]
        )
        saver.start()

    between_plan_and_apply(start_saving)
    outcome = runner(CheckStaleDeals())
    saver.join()
    application.close()
    assert not saved.row()["is_stale"]
    assert saved.row()["last_activity_date"] == sales.firm.day()
    assert other.row()["is_stale"]
    assert outcome.skip_reasons == {CHANGED: 2}


def test_of_two_copies_at_once_one_works_and_one_skips(runner, owner, sales, between_plan_and_apply):
    deal = sales.firm.deal(owner=sales.partner, last_activity_days_ago=60)
    refusals = []

    def second_copy():
        if not refusals:
            refusals.append(None)
            with pytest.raises(AlreadyRunningError, match="already running: check_stale_deals") as refused:
                runner(CheckStaleDeals(), firm_id=sales.firm.id)
            refusals.append(str(refused.value))

    between_plan_and_apply(second_copy)
    outcome = runner(CheckStaleDeals())
    assert len(refusals) == 2
    assert outcome.done == 2
    assert types(owner, deal) == ["stale"]
    with runner.connect() as connection:
        states = connection.execute("SELECT state FROM cp_ops.job_run ORDER BY id").fetchall()
    assert [state for (state,) in states] == ["success", "skipped"]
