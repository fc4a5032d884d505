"""Others write while check_stale_deals runs."""

from __future__ import annotations

import threading

import psycopg
import pytest

from cp_ops.crm.stale_deals.job import CHANGED, CheckStaleDeals
from cp_ops.runtime.errors import AlreadyRunningError
from tests.integration.crm.stale_deals.deal_world import alerts, types


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
