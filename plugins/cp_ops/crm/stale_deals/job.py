"""check_stale_deals: mark deals without activity as stale, unmark those active again, keep their alerts in step."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, cast

from cp_ops.crm.stale_deals.alerts import CLOSING_SOON_DAYS, AlertText, AlertType, close_date_text, stale_text
from cp_ops.crm.stale_deals.options import CheckStaleDealsOptions
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import DatabaseConflictError, RowFailedError, StatementFailedError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.plan import Action, Plan, Skip
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from datetime import date, datetime

    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.firms import Firm

DEFAULT_THRESHOLD = 30
"""Days without activity where neither the run nor the deal says how many."""
BATCH = 1_000
"""Deals per transaction; each takes at most three statements, whatever the number of deals."""
MARK, UNMARK = "mark_stale", "unmark_stale"
CHANGED = "changed meanwhile"
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


class CheckStaleDeals(Job[CheckStaleDealsOptions]):
    """Keep the stale mark and the stale and close-date alerts of the firms' deals true."""

    command = "check_stale_deals"
    statements = "crm/stale_deals"
    options = CheckStaleDealsOptions
    needs = (
        Table(
            "crm_deals",
            (
                *(
                    "id",
                    "firm_id",
                    "name",
                    "owner_id",
                    "is_active",
                    "is_won",
                    "is_lost",
                    "is_stale",
                    "created_at",
                ),
                *("updated_at", "last_activity_date", "expected_close_date", "stale_days_threshold"),
            ),
            ("SELECT", "UPDATE"),
        ),
        Table("crm_deals_team_members", ("deal_id", "user_id")),
        Table(
            "crm_deal_alert",
            (
                *(
                    "id",
                    "deal_id",
                    "alert_type",
                    "priority",
                    "title",
                    "message",
                    "is_sent",
                    "is_acknowledged",
                ),
                *("auto_dismiss_date", "is_dismissed", "created_at", "updated_at"),
            ),
            ("SELECT", "INSERT", "UPDATE"),
        ),
        Table("crm_deal_alert_recipients", ("dealalert_id", "user_id"), ("SELECT", "INSERT")),
        Table("firm_membership", ("firm_id", "user_id", "role", "is_active")),
        Table("auth_user", ("id", "is_active")),
    )

    def run(self, run: JobRun, options: CheckStaleDealsOptions) -> None:
        """Read the deals, plan, apply in batches; a firm whose time zone is unknown fails alone."""
        firms = _firms_with_a_day(run, run.firms(options.firm_id))
        tenants = run.tenants(sorted(firms))
        with closing(_deals(run, tenants)) as deals:
            plan = plan_stale_deals(deals, firms=firms, now=run.now, days=options.days)
        applies = run.accept(plan)
        Plan((*plan.of_kind(MARK), *plan.of_kind(UNMARK))).cap(
            "[cp_ops] stale_deals_max_changes",
            run.settings.stale_deals_max_changes,
            advice="Check days and look at a dry run",
        )
        if applies:
            tenant_of = {firm_id: tenant for tenant in tenants for firm_id in tenant.firm_ids}
            by_tenant = groupby(plan.actions, key=lambda action: tenant_of[cast("int", action.firm_id)])
            for tenant, actions in by_tenant:
                for deals_of_batch in _batches(actions):
                    _apply(run, tenant, deals_of_batch)
        run.audit(Category.SYSTEM, sorted(firms))


def _firms_with_a_day(run: JobRun, firms: Sequence[Firm]) -> dict[int, Firm]:
    known = {}
    for firm in firms:
        try:
            firm.today(run.now)
        except RowFailedError as error:
            run.fail(f"firm_firm:{firm.id}", error)
        else:
            known[firm.id] = firm
    return known


def _deals(run: JobRun, tenants: Iterable[Tenant]) -> Generator[Deal]:
    for tenant in tenants:
        with run.read(tenant, snapshot=True) as tx:
            yield from tx.stream("open_deals", Deal, firm_ids=list(tenant.firm_ids))
            yield from tx.stream("closed_deals_with_open_alerts", Deal, firm_ids=list(tenant.firm_ids))


def _batches(actions: Iterable[Action]) -> Iterator[list[list[Action]]]:
    """Cut the actions into runs of at most `BATCH` deals, a deal's actions together."""
    deals = (list(of_deal) for _, of_deal in groupby(actions, key=lambda action: action.target))
    while batch := list(islice(deals, BATCH)):
        yield batch


def _apply(run: JobRun, tenant: Tenant, deals: list[list[Action]]) -> None:
    """Apply a batch in one transaction; where the database refuses it, halve it until the refused deal is alone."""
    actions = [action for of_deal in deals for action in of_deal]
    try:
        done = _write(run, tenant, actions)
    except DatabaseConflictError as error:
        run.fail(
            f"{len(deals)} deals from {actions[0].target} on",
            error,
            rows=sum(action.rows for action in actions),
        )
        return
    except StatementFailedError as error:
        if len(deals) == 1:
            run.fail(actions[0].target, error, rows=sum(action.rows for action in actions))
            return
        middle = len(deals) // 2
        _apply(run, tenant, deals[:middle])
        _apply(run, tenant, deals[middle:])
        return
    for row in done:
        run.done(row["kind"], row["rows"], row["firm_id"])
    run.skip(CHANGED, max(0, sum(action.rows for action in actions) - sum(row["rows"] for row in done)))
    run.progress(f"{run.outcome.done} of {run.outcome.planned} changes made")


def _write(run: JobRun, tenant: Tenant, actions: Sequence[Action]) -> list[dict[str, Any]]:
    done: list[dict[str, Any]] = []
    marks = [action for action in actions if action.kind in (MARK, UNMARK)]
    opened = [action for action in actions if action.kind.startswith("open_")]
    closed = [action for action in actions if action.kind.startswith("close_")]
    with run.write(tenant) as tx:
        if marks:
            stale = [action.kind == MARK for action in marks]
            done += tx.rows("set_stale", now=run.now, stale=stale, **_columns(marks))
        if opened:
            texts = {f"{name}s": _values(opened, name) for name in ("title", "message", "alert_type")}
            priorities = _values(opened, "priority")
            done += tx.rows("open_alerts", now=run.now, priorities=priorities, **texts, **_columns(opened))
        if closed:
            facts = {"alert_types": _values(closed, "alert_type"), "are_open": _values(closed, "is_open")}
            done += tx.rows("close_alerts", now=run.now, **facts, **_columns(closed))
    return done


def _columns(actions: Sequence[Action]) -> dict[str, list[Any]]:
    """Give, as parallel arrays, which deals are meant and the state in which they were planned for."""
    return {
        "firm_ids": [action.firm_id for action in actions],
        "deal_ids": _values(actions, "deal"),
        "last_activities": _values(actions, "last_activity"),
        "close_dates": _values(actions, "close_date"),
    }


def _values(actions: Sequence[Action], name: str) -> list[Any]:
    return [action.data[name] for action in actions]
