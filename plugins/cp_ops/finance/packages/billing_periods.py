"""The calendar of package fees: which days one fee pays for. Pure; days are the firm's, both ends included."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import MAXYEAR, date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Schedule(StrEnum):
    """How often a package fee is due."""

    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    ANNUAL = "annual"
    ONE_TIME = "one-time"

    @classmethod
    def parse(cls, text: str) -> Schedule | None:
        """Read `package_fee_schedule`, free text in the application; None for what is not known.

        Case, surrounding blanks, and ``_`` or a blank for ``-`` do not matter; ``yearly`` is annual.
        """
        name = text.strip().lower().replace("_", "-").replace(" ", "-")
        return _NAMES.get(name)


_NAMES = {**{schedule.value: schedule for schedule in Schedule}, "yearly": Schedule.ANNUAL}
_MONTHS = {Schedule.MONTHLY: 1, Schedule.QUARTERLY: 3, Schedule.ANNUAL: 12}


@dataclass(frozen=True, slots=True, order=True)
class Days:
    """A run of days, from `start` to `end`, both included."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"{self.end} is before {self.start}")

    def __len__(self) -> int:
        return (self.end - self.start).days + 1

    def __contains__(self, day: date) -> bool:
        return self.start <= day <= self.end

    def __str__(self) -> str:
        return f"{self.start} to {self.end}"


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """What one fee pays for.

    :param days: the days that are billed: the calendar's period, clipped to the engagement.
    :param whole: the calendar's period; for a one-time fee the same as `days`.
    """

    days: Days
    whole: Days

    @property
    def clipped(self) -> bool:
        """Tell whether the engagement covers only a part of the calendar's period."""
        return self.days != self.whole

    def part(self) -> tuple[int, int, int]:
        """Give the billed days as parts of the whole: the first, the one after the last, how many there are."""
        start = (self.days.start - self.whole.start).days
        return start, start + len(self.days), len(self.whole)


def calendar_period(schedule: Schedule, day: date) -> Days:
    """Give the calendar month, quarter or year that holds a day.

    :raises ValueError: for a one-time fee, which knows no calendar.
    """
    if schedule is Schedule.ONE_TIME:
        raise ValueError("a one-time fee has no calendar period")
    months = _MONTHS[schedule]
    first = (day.month - 1) // months * months + 1
    last = first + months - 1
    return Days(date(day.year, first, 1), date(day.year, last, calendar.monthrange(day.year, last)[1]))


def period_at(schedule: Schedule, engagement: Days, day: date) -> BillingPeriod | None:
    """Give the billing period of an engagement that holds a day; None when the engagement does not."""
    if day not in engagement:
        return None
    if schedule is Schedule.ONE_TIME:
        return BillingPeriod(engagement, engagement)
    whole = calendar_period(schedule, day)
    return BillingPeriod(Days(max(whole.start, engagement.start), min(whole.end, engagement.end)), whole)


def periods_until(schedule: Schedule, engagement: Days, day: date) -> Iterator[BillingPeriod]:
    """Give every billing period of an engagement that has begun by a day, in order."""
    start = engagement.start
    while start <= min(day, engagement.end):
        period = period_at(schedule, engagement, start)
        assert period is not None
        yield period
        if period.whole.end == date(MAXYEAR, 12, 31):
            break  # an open-ended engagement may end on the last day there is, and no day follows it
        start = period.days.end + timedelta(days=1)
