"""Billing periods: month ends, leap days, clipping, and that nothing is billed twice or left out."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.finance.packages.billing_periods import (
    BillingPeriod,
    Days,
    Schedule,
    calendar_period,
    period_at,
    periods_until,
)

CALENDAR = [Schedule.MONTHLY, Schedule.QUARTERLY, Schedule.ANNUAL]
days = st.dates(date(1990, 1, 1), date(2060, 12, 31))
schedules = st.sampled_from(list(Schedule))
engagements = st.builds(
    lambda start, length: Days(start, start + timedelta(days=length)), days, st.integers(0, 1500)
)


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("monthly", Schedule.MONTHLY),
        (" Monthly ", Schedule.MONTHLY),
        ("quarterly", Schedule.QUARTERLY),
        ("annual", Schedule.ANNUAL),
        ("yearly", Schedule.ANNUAL),
        ("one-time", Schedule.ONE_TIME),
        ("One_Time", Schedule.ONE_TIME),
        ("one time", Schedule.ONE_TIME),
        ("", None),
        ("weekly", None),
        ("bi-monthly", None),
        ("month", None),
    ],
)
def test_a_schedule_that_is_not_known_is_none_not_monthly(text, schedule):
    assert Schedule.parse(text) is schedule


@pytest.mark.parametrize(
    ("schedule", "day", "start", "end"),
    [
        (Schedule.MONTHLY, "2025-01-31", "2025-01-01", "2025-01-31"),
        (Schedule.MONTHLY, "2025-02-01", "2025-02-01", "2025-02-28"),
        (Schedule.MONTHLY, "2024-02-29", "2024-02-01", "2024-02-29"),
        (Schedule.MONTHLY, "2100-02-10", "2100-02-01", "2100-02-28"),
        (Schedule.MONTHLY, "2025-12-31", "2025-12-01", "2025-12-31"),
        (Schedule.QUARTERLY, "2025-03-31", "2025-01-01", "2025-03-31"),
        (Schedule.QUARTERLY, "2025-11-15", "2025-10-01", "2025-12-31"),
        (Schedule.ANNUAL, "2024-02-29", "2024-01-01", "2024-12-31"),
        (Schedule.MONTHLY, "9999-12-31", "9999-12-01", "9999-12-31"),
    ],
)
def test_calendar_periods(schedule, day, start, end):
    expected = Days(date.fromisoformat(start), date.fromisoformat(end))
    assert calendar_period(schedule, date.fromisoformat(day)) == expected


def test_a_period_is_clipped_to_the_engagement():
    engagement = Days(date(2025, 1, 20), date(2025, 3, 10))
    periods = list(periods_until(Schedule.MONTHLY, engagement, date(2025, 12, 31)))
    assert [str(period.days) for period in periods] == [
        "2025-01-20 to 2025-01-31",
        "2025-02-01 to 2025-02-28",
        "2025-03-01 to 2025-03-10",
    ]
    assert [period.clipped for period in periods] == [True, False, True]
    assert [period.part() for period in periods] == [(19, 31, 31), (0, 28, 28), (0, 10, 31)]


def test_a_one_time_fee_has_one_period_the_whole_engagement():
    engagement = Days(date(2025, 1, 20), date(2026, 3, 10))
    assert list(periods_until(Schedule.ONE_TIME, engagement, date(2027, 1, 1))) == [
        BillingPeriod(engagement, engagement)
    ]


def test_an_engagement_that_starts_on_the_31st_does_not_drift():
    engagement = Days(date(2024, 1, 31), date(2024, 6, 30))
    starts = [
        p.days.start.isoformat() for p in periods_until(Schedule.MONTHLY, engagement, date(2024, 6, 30))
    ]
    assert starts == ["2024-01-31", "2024-02-01", "2024-03-01", "2024-04-01", "2024-05-01", "2024-06-01"]


def test_the_last_day_of_the_calendar_is_reached():
    engagement = Days(date(9999, 11, 15), date.max)
    assert len(list(periods_until(Schedule.MONTHLY, engagement, date.max))) == 2


@given(st.sampled_from(CALENDAR), days)
def test_every_day_is_in_exactly_one_calendar_period(schedule, day):
    period = calendar_period(schedule, day)
    assert day in period
    assert calendar_period(schedule, period.start) == calendar_period(schedule, period.end) == period
    assert calendar_period(schedule, period.end + timedelta(days=1)).start == period.end + timedelta(days=1)


@given(schedules, engagements, days)
def test_the_periods_tile_the_engagement_without_gap_or_overlap(schedule, engagement, until):
    periods = list(periods_until(schedule, engagement, until))
    if until < engagement.start:
        assert periods == []
        return
    assert periods[0].days.start == engagement.start
    for earlier, later in pairwise(periods):
        assert later.days.start == earlier.days.end + timedelta(days=1)
    assert periods[-1].days.start <= until
    assert periods[-1].days.end >= min(until, engagement.end)
    assert periods[-1].days.end <= engagement.end


@given(schedules, engagements, days)
def test_the_period_of_a_day_is_one_of_the_periods(schedule, engagement, day):
    period = period_at(schedule, engagement, day)
    if day in engagement:
        assert period in list(periods_until(schedule, engagement, day))
        assert day in period.days
    else:
        assert period is None


@given(schedules, engagements, days)
def test_a_period_lies_within_its_whole(schedule, engagement, day):
    for period in periods_until(schedule, engagement, day):
        start, stop, parts = period.part()
        assert 0 <= start < stop <= parts
        assert (stop - start == parts) is not period.clipped


def test_an_end_before_the_start_is_no_period():
    """A trap: engagements of the future were billed with an end before the start."""
    with pytest.raises(ValueError, match="is before"):
        Days(date(2025, 2, 1), date(2025, 1, 31))
    with pytest.raises(ValueError, match="no calendar period"):
        calendar_period(Schedule.ONE_TIME, date(2025, 1, 1))
