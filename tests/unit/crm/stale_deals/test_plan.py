"""Which deals become stale and which alerts open or close, as the pure plan decides it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.crm.stale_deals.alerts import (
    TITLE_LENGTH,
    Priority,
    close_date_priority,
    stale_priority,
    stale_text,
)
from cp_ops.crm.stale_deals.plan import FUTURE_ACTIVITY, NO_RECIPIENT, Deal, plan_stale_deals
from cp_ops.runtime.firms import Firm

NOW = datetime(2026, 3, 10, 10, 0, tzinfo=UTC)
TODAY = NOW.date()
ZONES = (
    "UTC",
    "America/New_York",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Asia/Kathmandu",
    "Europe/Paris",
)


def firm(zone: str = "UTC", firm_id: int = 1) -> Firm:
    return Firm(firm_id, "larch", "active", zone, "USD", "")


def deal(**columns) -> Deal:
    """A deal of the firm above that is active today and closes in 60 days: nothing is due."""
    defaults = {
        "id": 7,
        "firm_id": 1,
        "name": "Cost programme",
        "is_open": True,
        "is_stale": False,
        "created_at": NOW - timedelta(days=400),
        "last_activity_date": TODAY,
        "expected_close_date": TODAY + timedelta(days=60),
        "stale_days_threshold": 30,
    }
    return Deal(**defaults | columns)


def idle(days: int, **columns) -> Deal:
    return deal(last_activity_date=TODAY - timedelta(days=days), **columns)


def plan(*deals: Deal, zone: str = "UTC", now: datetime = NOW, days: int | None = None):
    return plan_stale_deals(deals, firms={1: firm(zone)}, now=now, days=days)


def kinds(*deals: Deal, **options) -> list[str]:
    return [action.kind for action in plan(*deals, **options).actions]


def test_nothing_is_due_for_an_active_deal_that_closes_later():
    assert kinds(deal()) == []


@pytest.mark.parametrize(("days_idle", "stale"), [(0, False), (29, False), (30, True), (31, True)])
def test_a_deal_is_stale_from_its_threshold_on(days_idle, stale):
    assert kinds(idle(days_idle)) == (["mark_stale", "open_stale_alert"] if stale else [])


@given(threshold=st.integers(1, 5_000), off=st.sampled_from([-1, 0, 1]), by_option=st.booleans())
def test_the_boundary_is_exact_for_every_threshold(threshold, off, by_option):
    own = 1 if by_option else threshold
    subject = idle(threshold + off, stale_days_threshold=own)
    marked = "mark_stale" in kinds(subject, days=threshold if by_option else None)
    assert marked == (off >= 0)


@pytest.mark.parametrize("threshold", [0, -1, -2_147_483_648])
def test_a_threshold_that_is_not_positive_means_thirty_days(threshold):
    assert kinds(idle(29, stale_days_threshold=threshold)) == []
    assert "mark_stale" in kinds(idle(30, stale_days_threshold=threshold))


def test_the_largest_threshold_never_makes_a_deal_stale():
    assert kinds(idle(3_000, stale_days_threshold=2_147_483_647)) == []


def test_a_deal_without_activity_counts_from_its_creation():
    assert kinds(deal(last_activity_date=None, created_at=NOW - timedelta(days=29))) == []
    assert "mark_stale" in kinds(deal(last_activity_date=None, created_at=NOW - timedelta(days=30)))


@pytest.mark.parametrize(
    ("now", "zone", "stale"),
    [
        (datetime(2026, 3, 10, 23, 59, tzinfo=UTC), "UTC", False),
        (datetime(2026, 3, 11, 0, 0, tzinfo=UTC), "UTC", True),
        (datetime(2026, 3, 10, 10, 0, tzinfo=UTC), "Pacific/Kiritimati", True),  # 00:00 of the 11th there
        (datetime(2026, 3, 10, 9, 59, tzinfo=UTC), "Pacific/Kiritimati", False),
        (datetime(2026, 3, 11, 3, 59, tzinfo=UTC), "America/New_York", False),  # 23:59 of the 10th there
        (datetime(2026, 3, 11, 4, 0, tzinfo=UTC), "America/New_York", True),
    ],
)
def test_today_is_the_firms_day(now, zone, stale):
    subject = deal(last_activity_date=date(2026, 2, 9), expected_close_date=date(2026, 12, 1))
    assert ("mark_stale" in kinds(subject, now=now, zone=zone)) == stale


def test_the_day_of_creation_is_the_firms_day_too():
    created = datetime(2026, 2, 9, 3, 0, tzinfo=UTC)  # still the 8th in New York
    subject = deal(last_activity_date=None, created_at=created, expected_close_date=date(2026, 12, 1))
    now = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
    assert "mark_stale" in kinds(subject, now=now, zone="America/New_York")
    assert "mark_stale" not in kinds(subject, now=now, zone="UTC")


def test_a_leap_day_counts_as_a_day():
    now = datetime(2028, 3, 1, 10, 0, tzinfo=UTC)
    subject = deal(last_activity_date=date(2028, 1, 31), expected_close_date=date(2028, 12, 1))
    assert "mark_stale" in kinds(subject, now=now)
    assert "mark_stale" not in kinds(replace(subject, last_activity_date=date(2028, 2, 1)), now=now)
    on_the_day = deal(last_activity_date=date(2028, 2, 29), expected_close_date=date(2029, 2, 1))
    assert "mark_stale" not in kinds(on_the_day, now=datetime(2028, 3, 29, 10, tzinfo=UTC))
    assert "mark_stale" in kinds(on_the_day, now=datetime(2028, 3, 30, 10, tzinfo=UTC))


def test_activity_in_the_future_counts_as_active_today_and_is_reported():
    subject = idle(-400, is_stale=True, stale_alerts=1)
    found = plan(subject)
    assert [action.kind for action in found.actions] == ["unmark_stale", "close_stale_alert"]
    assert [skip.reason for skip in found.skips] == [FUTURE_ACTIVITY]


def test_an_active_deal_is_unmarked_and_its_alerts_are_closed():
    found = plan(idle(3, is_stale=True, stale_alerts=2))
    assert [(action.kind, action.rows) for action in found.actions] == [
        ("unmark_stale", 1),
        ("close_stale_alert", 2),
    ]


def test_an_open_alert_of_a_deal_that_is_not_stale_is_closed():
    assert kinds(idle(3, stale_alerts=1)) == ["close_stale_alert"]


def test_a_deal_that_the_application_marked_gets_the_alert_it_lacks():
    assert kinds(idle(40, is_stale=True)) == ["open_stale_alert"]
    assert kinds(idle(40, is_stale=True, stale_alerts=1)) == []


@pytest.mark.parametrize(
    ("dismissed_days_ago", "again"),
    [(0, False), (10, False), (11, True), (39, True), (40, True), (300, True)],
)
def test_a_dismissed_alert_is_not_opened_again_in_the_same_idle_spell(dismissed_days_ago, again):
    """The spell of a deal that is idle for 40 days began 10 days ago, when it reached 30."""
    subject = idle(40, is_stale=True, stale_dismissed=NOW - timedelta(days=dismissed_days_ago))
    assert kinds(subject) == (["open_stale_alert"] if again else [])


def test_an_alert_that_an_impatient_run_opened_does_not_silence_the_deals_own_threshold():
    """Run with days=10, dismissed, unmarked by the daily run: at 30 days idle it is news again."""
    subject = idle(30, stale_dismissed=NOW - timedelta(days=20))
    assert kinds(subject) == ["mark_stale", "open_stale_alert"]


@pytest.mark.parametrize(("left", "due"), [(8, False), (7, True), (0, True), (-1, True), (-400, True)])
def test_a_deal_gets_a_close_date_alert_within_seven_days_and_when_overdue(left, due):
    subject = deal(expected_close_date=TODAY + timedelta(days=left))
    assert kinds(subject) == (["open_close_date_alert"] if due else [])
    assert kinds(replace(subject, close_date_alerts=1)) == ([] if due else ["close_close_date_alert"])


@pytest.mark.parametrize(
    ("left", "dismissed_days_ago", "again"),
    [
        (3, 1, False),
        (3, 4, False),  # created 7 days before the close date: the same approach
        (3, 5, True),  # created before the date was moved to where it is
        (-4, 1, False),
        (-4, 4, True),  # created on the close date: being overdue is news
        (-4, 9, True),
    ],
)
def test_a_dismissed_close_date_alert_comes_again_only_for_a_new_reason(left, dismissed_days_ago, again):
    subject = deal(
        expected_close_date=TODAY + timedelta(days=left),
        close_date_dismissed=NOW - timedelta(days=dismissed_days_ago),
    )
    assert kinds(subject) == (["open_close_date_alert"] if again else [])


def test_alerts_of_a_closed_deal_are_closed_and_its_mark_is_left_alone():
    subject = idle(90, is_open=False, is_stale=True, stale_alerts=1, close_date_alerts=2)
    found = plan(subject)
    assert [(action.kind, action.rows) for action in found.actions] == [
        ("close_stale_alert", 1),
        ("close_close_date_alert", 2),
    ]


def test_an_alert_that_reaches_nobody_is_opened_and_reported():
    found = plan(idle(30, reachable=False))
    assert [action.kind for action in found.actions] == ["mark_stale", "open_stale_alert"]
    assert [skip.reason for skip in found.skips] == [NO_RECIPIENT]


@pytest.mark.parametrize(
    ("days_over", "priority"),
    [(0, "low"), (7, "low"), (8, "medium"), (30, "medium"), (31, "high"), (60, "high"), (61, "urgent")],
)
def test_priority_of_a_stale_alert(days_over, priority):
    assert stale_priority(days_over) == priority


@pytest.mark.parametrize(
    ("days_left", "priority"),
    [(7, "low"), (4, "low"), (3, "medium"), (0, "medium"), (-1, "high"), (-14, "high"), (-15, "urgent")],
)
def test_priority_of_a_close_date_alert(days_left, priority):
    assert close_date_priority(days_left) == priority


def test_priorities_never_fall_as_a_deal_gets_worse():
    order = list(Priority)
    for grade, worse in ((stale_priority, 1), (close_date_priority, -1)):
        grades = [order.index(grade(worse * day)) for day in range(-10, 200)]
        assert all(a <= b for a, b in pairwise(grades))


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=255))
def test_a_title_fits_its_column_and_names_the_deal(name):
    text = stale_text(name, since=date(2026, 1, 1), today=TODAY, threshold=30, never_active=False)
    assert len(text.title) <= TITLE_LENGTH
    assert text.title.startswith(f"No activity since 2026-01-01: {name[:200]}")
    assert name in text.message
    assert "68 days on 2026-03-10" in text.message


days_around = st.integers(-400, 400)
instants = st.builds(lambda hours: NOW - timedelta(hours=hours), st.integers(0, 24 * 400))


@st.composite
def deals(draw) -> Deal:
    return Deal(
        id=draw(st.integers(1, 1_000)),
        firm_id=1,
        name=draw(st.sampled_from(["Cost programme", "Öl & Gas " * 28])),
        is_open=draw(st.booleans()),
        is_stale=draw(st.booleans()),
        created_at=draw(instants),
        last_activity_date=draw(st.none() | st.builds(lambda n: TODAY + timedelta(days=n), days_around)),
        expected_close_date=TODAY + timedelta(days=draw(st.integers(-20, 20) | days_around)),
        stale_days_threshold=draw(st.integers(-5, 120)),
        reachable=draw(st.booleans()),
        stale_alerts=draw(st.integers(0, 2)),
        close_date_alerts=draw(st.integers(0, 2)),
        stale_dismissed=draw(st.none() | instants),
        close_date_dismissed=draw(st.none() | instants),
    )


def applied(subject: Deal, actions) -> Deal:
    """What the database holds after the actions were applied."""
    for action in actions:
        match action.kind:
            case "mark_stale" | "unmark_stale":
                subject = replace(subject, is_stale=action.kind == "mark_stale")
            case "open_stale_alert":
                subject = replace(subject, stale_alerts=1)
            case "close_stale_alert":
                subject = replace(subject, stale_alerts=0)
            case "open_close_date_alert":
                subject = replace(subject, close_date_alerts=1)
            case "close_close_date_alert":
                subject = replace(subject, close_date_alerts=0)
            case kind:
                raise AssertionError(kind)
    return subject


options = st.fixed_dictionaries(
    {"zone": st.sampled_from(ZONES), "days": st.none() | st.integers(1, 90)},
)


@given(subject=deals(), chosen=options)
def test_a_second_plan_right_after_the_first_is_empty(subject, chosen):
    after = applied(subject, plan(subject, **chosen).actions)
    assert plan(after, **chosen).actions == ()


@given(subject=deals(), chosen=options)
def test_after_a_run_the_mark_says_what_the_days_say(subject, chosen):
    after = applied(subject, plan(subject, **chosen).actions)
    if not after.is_open:
        assert (after.is_stale, after.stale_alerts, after.close_date_alerts) == (subject.is_stale, 0, 0)
        return
    here = firm(chosen["zone"])
    since = after.last_activity_date or here.today(after.created_at)
    threshold = chosen["days"] or (after.stale_days_threshold if after.stale_days_threshold > 0 else 30)
    assert after.is_stale == ((here.today(NOW) - since).days >= threshold)
    assert after.is_stale or after.stale_alerts == 0
    assert after.expected_close_date - here.today(NOW) <= timedelta(days=7) or after.close_date_alerts == 0


@given(subject=deals(), chosen=options)
def test_an_alert_that_this_job_opened_and_a_person_dismissed_at_once_stays_dismissed(subject, chosen):
    after = applied(subject, plan(subject, **chosen).actions)
    dismissed = replace(
        after,
        stale_alerts=0,
        close_date_alerts=0,
        stale_dismissed=NOW if after.stale_alerts else after.stale_dismissed,
        close_date_dismissed=NOW if after.close_date_alerts else after.close_date_dismissed,
    )
    assert [action for action in plan(dismissed, **chosen).actions if action.kind.startswith("open")] == []


@given(subjects=st.lists(deals(), max_size=6, unique_by=lambda one: one.id), chosen=options)
def test_a_plan_does_not_depend_on_the_order_of_the_deals(subjects, chosen):
    assert plan(*subjects, **chosen).sha256 == plan(*reversed(subjects), **chosen).sha256
