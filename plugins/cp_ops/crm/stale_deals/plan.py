"""Which deals become stale, which stop being so, and which alerts open or close: the planner of check_stale_deals."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from cp_ops.crm.stale_deals.alerts import CLOSING_SOON_DAYS, AlertText, AlertType, close_date_text, stale_text
from cp_ops.runtime.plan import UNHASHED, Action, Payload, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date, datetime

    from cp_ops.runtime.firms import Firm

DEFAULT_THRESHOLD = 30
"""Days without activity where neither the run nor the deal says how many."""
NO_RECIPIENT = (
    "alert without recipients: the deal has no active owner or team member, the firm no active admin"
)
FUTURE_ACTIVITY = "last activity lies in the future: counted as active today"
CLOSED = "the deal is closed"


class DealChange(StrEnum):
    """What can be planned for a deal."""

    MARK_STALE = "mark_stale"
    UNMARK_STALE = "unmark_stale"
    OPEN_STALE_ALERT = "open_stale_alert"
    OPEN_CLOSE_DATE_ALERT = "open_close_date_alert"
    CLOSE_STALE_ALERT = "close_stale_alert"
    CLOSE_CLOSE_DATE_ALERT = "close_close_date_alert"


OPENING: Mapping[AlertType, DealChange] = {
    AlertType.STALE: DealChange.OPEN_STALE_ALERT,
    AlertType.CLOSE_DATE: DealChange.OPEN_CLOSE_DATE_ALERT,
}
CLOSING: Mapping[AlertType, DealChange] = {
    AlertType.STALE: DealChange.CLOSE_STALE_ALERT,
    AlertType.CLOSE_DATE: DealChange.CLOSE_CLOSE_DATE_ALERT,
}


@dataclass(frozen=True, slots=True)
class Deal:
    """A deal and its alerts, as far as the plan needs them.

    :param is_open: active, neither won nor lost.
    :param reachable: whether an alert would have a recipient.
    :param stale_alerts: alerts of type stale that are not dismissed; an acknowledged one is still open.
    :param stale_dismissed: when the newest one that a person dismissed was created; None when there is none. One that
        this job closed does not count.
    """

    id: int
    firm_id: int
    name: str
    is_open: bool
    is_stale: bool
    created_at: datetime
    last_activity_date: date | None
    expected_close_date: date
    stale_days_threshold: int
    reachable: bool = True
    stale_alerts: int = 0
    close_date_alerts: int = 0
    stale_dismissed: datetime | None = None
    close_date_dismissed: datetime | None = None

    @property
    def target(self) -> str:
        """The deal's key in plans and outcomes."""
        return f"crm_deals:{self.id}"

    def open_alerts(self, alert_type: AlertType) -> int:
        """Count the deal's open alerts of a type."""
        return self.stale_alerts if alert_type is AlertType.STALE else self.close_date_alerts


@dataclass(frozen=True, slots=True, eq=False)
class PlannedDeal(Payload):
    """The deal of an action, and the state in which it was planned for; a deal that has left it is passed over."""

    deal: int
    last_activity: str | None
    close_date: str


@dataclass(frozen=True, slots=True, eq=False)
class StaleMark(PlannedDeal):
    """Mark or unmark a deal.

    :param stale: what the mark becomes; the action's kind says so to the plan's hash.
    """

    stale: bool = field(metadata=UNHASHED)


@dataclass(frozen=True, slots=True, eq=False)
class NewAlert(PlannedDeal):
    """Open an alert of a deal."""

    alert_type: AlertType
    priority: str
    title: str
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class ClosedAlerts(PlannedDeal):
    """Close a deal's open alerts of one type.

    :param is_open: whether the deal was open.
    """

    alert_type: AlertType
    is_open: bool


def plan_stale_deals(
    deals: Iterable[Deal], *, firms: Mapping[int, Firm], now: datetime, days: int | None = None
) -> Plan:
    """Plan which deals become stale or stop being so, and which alerts open or close. Pure.

    An alert that a person dismissed is not opened again for the same reason: not in the same idle spell (the time
    since the deal reached its threshold), not for the same approach of the close date, not for the same overdue date.

    :param deals: open deals, and closed ones that have open alerts; the actions follow their order.
    :param firms: the firms of these deals; days are the firm's own.
    :param days: replaces each deal's own threshold.
    """
    return Plan.of(item for deal in deals for item in _due(deal, firms[deal.firm_id], now, days))


def _due(deal: Deal, firm: Firm, now: datetime, days: int | None) -> Iterator[Action | Skip]:
    if deal.is_open:
        yield from _staleness(deal, firm, firm.today(now), days)
        yield from _close_date(deal, firm, firm.today(now))
    else:
        yield from _close(deal, AlertType.STALE, CLOSED)
        yield from _close(deal, AlertType.CLOSE_DATE, CLOSED)


def _staleness(deal: Deal, firm: Firm, today: date, days: int | None) -> Iterator[Action | Skip]:
    # A deal that nobody has ever worked on is idle since it was created.
    since = deal.last_activity_date or firm.today(deal.created_at)
    idle = (today - since).days
    threshold = days or _own_threshold(deal)
    if idle < threshold:
        yield from _active(deal, idle, threshold)
        return
    reason = f"{idle} days without activity, stale from {threshold}"
    if not deal.is_stale:
        yield _mark(deal, DealChange.MARK_STALE, reason)
    if not deal.stale_alerts and not _dismissed_in_this_spell(deal, firm, since, threshold):
        never_active = deal.last_activity_date is None
        text = stale_text(deal.name, since=since, today=today, threshold=threshold, never_active=never_active)
        yield from _open(deal, AlertType.STALE, text, reason)


def _own_threshold(deal: Deal) -> int:
    # The column takes zero and negative numbers. No deal is meant to be stale on the day of its last activity.
    return deal.stale_days_threshold if deal.stale_days_threshold > 0 else DEFAULT_THRESHOLD


def _active(deal: Deal, idle: int, threshold: int) -> Iterator[Action | Skip]:
    if deal.last_activity_date and idle < 0:
        yield Skip(deal.target, FUTURE_ACTIVITY, deal.firm_id)
    reason = f"{max(idle, 0)} days without activity, stale from {threshold}"
    if deal.is_stale:
        yield _mark(deal, DealChange.UNMARK_STALE, reason)
    yield from _close(deal, AlertType.STALE, reason)


def _dismissed_in_this_spell(deal: Deal, firm: Firm, since: date, threshold: int) -> bool:
    """Tell whether a person has dismissed an alert of the spell that the deal is idle in now.

    An alert belongs to this spell if the deal had reached its threshold when the alert was created. One that is older
    was about an earlier silence, which an activity has ended since.
    """
    alerted = deal.stale_dismissed
    return alerted is not None and (firm.today(alerted) - since).days >= threshold


def _close_date(deal: Deal, firm: Firm, today: date) -> Iterator[Action | Skip]:
    left = (deal.expected_close_date - today).days
    if left > CLOSING_SOON_DAYS:
        yield from _close(deal, AlertType.CLOSE_DATE, f"{left} days until its close date")
        return
    reason = f"closes in {left} days" if left >= 0 else f"its close date passed {-left} days ago"
    if not deal.close_date_alerts and not _dismissed_at_this_stage(deal, firm, left):
        text = close_date_text(deal.name, close_date=deal.expected_close_date, today=today)
        yield from _open(deal, AlertType.CLOSE_DATE, text, reason)


def _dismissed_at_this_stage(deal: Deal, firm: Firm, left: int) -> bool:
    """Tell whether a person has dismissed an alert of the stage that the close date is in now.

    Approaching and overdue are two stages: who dismissed "closes soon" has not yet heard that the date has passed. An
    alert from the time before both was about another close date.
    """
    if deal.close_date_dismissed is None:
        return False
    left_then = (deal.expected_close_date - firm.today(deal.close_date_dismissed)).days
    return left_then < 0 if left < 0 else left_then <= CLOSING_SOON_DAYS


def _mark(deal: Deal, change: DealChange, reason: str) -> Action:
    mark = StaleMark(*_state(deal), stale=change is DealChange.MARK_STALE)
    return Action(change, deal.target, reason, deal.firm_id, data=mark)


def _open(deal: Deal, alert_type: AlertType, text: AlertText, reason: str) -> Iterator[Action | Skip]:
    alert = NewAlert(*_state(deal), alert_type, text.priority.value, text.title, text.message)
    yield Action(OPENING[alert_type], deal.target, reason, deal.firm_id, data=alert)
    # The alert is opened all the same: whoever looks at the deal sees it.
    if not deal.reachable:
        yield Skip(deal.target, NO_RECIPIENT, deal.firm_id)


def _close(deal: Deal, alert_type: AlertType, reason: str) -> Iterator[Action]:
    if alerts := deal.open_alerts(alert_type):
        closed = ClosedAlerts(*_state(deal), alert_type, deal.is_open)
        yield Action(CLOSING[alert_type], deal.target, reason, deal.firm_id, alerts, closed)


def _state(deal: Deal) -> tuple[int, str | None, str]:
    last_activity = deal.last_activity_date.isoformat() if deal.last_activity_date else None
    return deal.id, last_activity, deal.expected_close_date.isoformat()
