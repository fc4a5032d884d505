"""Which deals become stale, which stop being so, and which alerts open or close: the planner of check_stale_deals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cp_ops.crm.stale_deals.alerts import CLOSING_SOON_DAYS, AlertText, AlertType, close_date_text, stale_text
from cp_ops.runtime.plan import Action, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date, datetime

    from cp_ops.runtime.firms import Firm

DEFAULT_THRESHOLD = 30
"""Days without activity where neither the run nor the deal says how many."""
MARK, UNMARK = "mark_stale", "unmark_stale"
NO_RECIPIENT = (
    "alert without recipients: the deal has no active owner or team member, the firm no active admin"
)
FUTURE_ACTIVITY = "last activity lies in the future: counted as active today"


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
        yield from _staleness(deal, firm, now, days)
        yield from _close_date(deal, firm, now)
    else:
        yield from _close(deal, AlertType.STALE, "the deal is closed")
        yield from _close(deal, AlertType.CLOSE_DATE, "the deal is closed")


def _staleness(deal: Deal, firm: Firm, now: datetime, days: int | None) -> Iterator[Action | Skip]:
    today = firm.today(now)
    since = deal.last_activity_date or firm.today(deal.created_at)
    threshold = days or (deal.stale_days_threshold if deal.stale_days_threshold > 0 else DEFAULT_THRESHOLD)
    idle = (today - since).days
    if deal.last_activity_date and idle < 0:
        yield Skip(_target(deal), FUTURE_ACTIVITY, deal.firm_id)
    if idle < threshold:
        active = f"{max(idle, 0)} days without activity, stale from {threshold}"
        if deal.is_stale:
            yield _action(UNMARK, deal, active)
        yield from _close(deal, AlertType.STALE, active)
        return
    reason = f"{idle} days without activity, stale from {threshold}"
    if not deal.is_stale:
        yield _action(MARK, deal, reason)
    dismissed = deal.stale_dismissed
    answered = dismissed is not None and (firm.today(dismissed) - since).days >= threshold
    if not deal.stale_alerts and not answered:
        text = stale_text(
            deal.name,
            since=since,
            today=today,
            threshold=threshold,
            never_active=deal.last_activity_date is None,
        )
        yield from _open(deal, AlertType.STALE, text, reason)


def _close_date(deal: Deal, firm: Firm, now: datetime) -> Iterator[Action | Skip]:
    today = firm.today(now)
    left = (deal.expected_close_date - today).days
    if left > CLOSING_SOON_DAYS:
        yield from _close(deal, AlertType.CLOSE_DATE, f"{left} days until its close date")
        return
    reason = f"closes in {left} days" if left >= 0 else f"its close date passed {-left} days ago"
    dismissed = deal.close_date_dismissed
    left_then = (deal.expected_close_date - firm.today(dismissed)).days if dismissed else None
    answered = left_then is not None and (left_then < 0 if left < 0 else left_then <= CLOSING_SOON_DAYS)
    if not deal.close_date_alerts and not answered:
        text = close_date_text(deal.name, close_date=deal.expected_close_date, today=today)
        yield from _open(deal, AlertType.CLOSE_DATE, text, reason)


def _open(deal: Deal, alert_type: AlertType, text: AlertText, reason: str) -> Iterator[Action | Skip]:
    yield _action(
        f"open_{alert_type}_alert",
        deal,
        reason,
        alert_type=alert_type.value,
        priority=text.priority.value,
        title=text.title,
        message=text.message,
    )
    if not deal.reachable:
        yield Skip(_target(deal), NO_RECIPIENT, deal.firm_id)


def _close(deal: Deal, alert_type: AlertType, reason: str) -> Iterator[Action]:
    alerts = deal.stale_alerts if alert_type is AlertType.STALE else deal.close_date_alerts
    if alerts:
        yield _action(
            f"close_{alert_type}_alert",
            deal,
            reason,
            rows=alerts,
            alert_type=alert_type.value,
            is_open=deal.is_open,
        )


def _action(kind: str, deal: Deal, reason: str, *, rows: int = 1, **data: Any) -> Action:
    last_activity = deal.last_activity_date.isoformat() if deal.last_activity_date else None
    facts = {
        "deal": deal.id,
        "last_activity": last_activity,
        "close_date": deal.expected_close_date.isoformat(),
    }
    return Action(kind, _target(deal), reason, deal.firm_id, rows, facts | data)


def _target(deal: Deal) -> str:
    return f"crm_deals:{deal.id}"
