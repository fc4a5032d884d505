"""The application's deal alerts: types, priorities and texts.

A text names the deal and dates, nothing else of the client's; dates are absolute, so that it stays true while the
alert is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

TITLE_LENGTH = 255
"""crm_deal_alert.title is varchar(255), and so is the name of a deal."""
CLOSING_SOON_DAYS = 7
"""From this many days before its expected close date on, a deal gets a close-date alert."""


class AlertType(StrEnum):
    """The types of alert that check_stale_deals opens and closes."""

    STALE = "stale"
    CLOSE_DATE = "close_date"


class Priority(StrEnum):
    """The application's priorities of an alert."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    URGENT = "urgent"


@dataclass(frozen=True, slots=True)
class AlertText:
    """What an alert says, and how loudly."""

    priority: Priority
    title: str
    message: str


def stale_priority(days_over: int) -> Priority:
    """Grade a stale deal by the days since it reached its threshold.

    Up to 7 days: low; up to 30: medium; up to 60: high; more: urgent.
    """
    if days_over <= 7:  # noqa: PLR2004 - the table in the docstring
        return Priority.LOW
    if days_over <= 30:  # noqa: PLR2004
        return Priority.MEDIUM
    return Priority.HIGH if days_over <= 60 else Priority.URGENT  # noqa: PLR2004


def close_date_priority(days_left: int) -> Priority:
    """Grade a deal by the days until its expected close date, negative when that has passed.

    4 to 7 days left: low; 0 to 3: medium; overdue by up to 14 days: high; by more: urgent.
    """
    if days_left > 3:  # noqa: PLR2004 - the table in the docstring
        return Priority.LOW
    if days_left >= 0:
        return Priority.MEDIUM
    return Priority.HIGH if days_left >= -14 else Priority.URGENT  # noqa: PLR2004


def stale_text(name: str, *, since: date, today: date, threshold: int, never_active: bool) -> AlertText:
    """Say that a deal has had no activity.

    :param since: the day of the last activity, or of the deal's creation when there was none.
    :param threshold: days without activity from which the deal is stale.
    """
    idle = (today - since).days
    what = (
        f"has had no activity since it was created on {since}"
        if never_active
        else f"has had no activity since {since}"
    )
    return AlertText(
        stale_priority(idle - threshold),
        _title(f"No activity since {since}", name),
        f'Deal "{name}" {what}: {_days(idle)} on {today}, its threshold is {_days(threshold)}. '
        "Log an activity, or close the deal.",
    )


def close_date_text(name: str, *, close_date: date, today: date) -> AlertText:
    """Say that a deal is about to reach its expected close date, or has passed it."""
    left = (close_date - today).days
    overdue = left < 0
    return AlertText(
        close_date_priority(left),
        _title(f"Should have closed on {close_date}" if overdue else f"Closes on {close_date}", name),
        f'Deal "{name}" {"should have closed" if overdue else "is expected to close"} on {close_date}. '
        "Close the deal, or move its expected close date.",
    )


def _title(what: str, name: str) -> str:
    title = f"{what}: {name}"
    return title if len(title) <= TITLE_LENGTH else title[: TITLE_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _days(number: int) -> str:
    return f"{number} day" if number == 1 else f"{number} days"
