"""check_stale_deals: mark deals without activity as stale, unmark those active again, keep their alerts in step."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from cp_ops.crm.stale_deals.options import CheckStaleDealsOptions
from cp_ops.crm.stale_deals.plan import (
    ClosedAlerts,
    Deal,
    DealChange,
    NewAlert,
    PlannedDeal,
    StaleMark,
    plan_stale_deals,
)
from cp_ops.runtime.audit import Category
from cp_ops.runtime.batches import apply_or_halve, batched, by_tenant
from cp_ops.runtime.errors import DatabaseConflictError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.plan import Action, Plan
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.errors import StatementFailedError

__all__ = ["CheckStaleDeals"]  # operators name their job as text

Change = TypeVar("Change", bound=PlannedDeal)
DealActions = list[Action]
"""What is planned for one deal."""

BATCH = 1_000
"""Deals per transaction; each takes at most three statements, whatever the number of deals."""
CHANGED = "changed meanwhile"


class CheckStaleDeals(Job[CheckStaleDealsOptions]):
    """Keep the stale mark and the stale and close-date alerts of the firms' deals true."""

    command = "check_stale_deals"
    statements = "crm/stale_deals"
    options = CheckStaleDealsOptions
    needs = (
        Table.of(
            "crm_deals",
            "id firm_id name owner_id is_active is_won is_lost is_stale created_at updated_at last_activity_date"
            " expected_close_date stale_days_threshold",
            "SELECT",
            "UPDATE",
        ),
        Table.of("crm_deals_team_members", "deal_id user_id"),
        Table.of(
            "crm_deal_alert",
            "id deal_id alert_type priority title message is_sent is_acknowledged auto_dismiss_date is_dismissed"
            " created_at updated_at",
            "SELECT",
            "INSERT",
            "UPDATE",
        ),
        Table.of("crm_deal_alert_recipients", "dealalert_id user_id", "SELECT", "INSERT"),
        Table.of("firm_membership", "firm_id user_id role is_active"),
        Table.of("auth_user", "id is_active"),
    )

    def run(self, run: JobRun, options: CheckStaleDealsOptions) -> None:
        """Read the deals, plan, apply in batches; a firm whose time zone is unknown fails alone."""
        served = run.firms(options.firm_id)
        known = run.firm_days(served)
        firms = {firm.id: firm for firm in served if firm.id in known}
        tenants = run.tenants(sorted(firms))
        with closing(_deals(run, tenants)) as deals:
            plan = plan_stale_deals(deals, firms=firms, now=run.now, days=options.days)
        # Before the cap: a run that is stopped has recorded and logged what it would have done.
        applies = run.accept(plan)
        _cap(run, plan)
        if applies:
            for tenant, actions in by_tenant(plan.actions, tenants):
                for batch in batched(_deal_by_deal(actions), BATCH):
                    apply_or_halve(batch, partial(_apply, run, tenant), partial(_refused, run))
        run.audit(Category.SYSTEM, sorted(firms))


def _cap(run: JobRun, plan: Plan) -> None:
    """Refuse to mark or unmark too many deals; alerts are not counted."""
    marks = (*plan.of_kind(DealChange.MARK_STALE), *plan.of_kind(DealChange.UNMARK_STALE))
    Plan(marks).cap(
        "[cp_ops] stale_deals_max_changes",
        run.settings.stale_deals_max_changes,
        advice="Check days and look at a dry run",
    )


def _deals(run: JobRun, tenants: Iterable[Tenant]) -> Generator[Deal]:
    for tenant in tenants:
        # In one snapshot: a deal that is closed between the two queries would otherwise be missed by both, or come twice.
        with run.read(tenant, snapshot=True) as tx:
            yield from tx.stream("open_deals", Deal, firm_ids=list(tenant.firm_ids))
            yield from tx.stream("closed_deals_with_open_alerts", Deal, firm_ids=list(tenant.firm_ids))


def _deal_by_deal(actions: Iterable[Action]) -> Iterator[DealActions]:
    """Keep a deal's actions together: its mark and its alerts belong into one transaction."""
    return (list(of_deal) for _, of_deal in groupby(actions, key=lambda action: action.target))


def _apply(run: JobRun, tenant: Tenant, deals: Sequence[DealActions]) -> None:
    """Apply a batch of deals in one transaction, and count what it did."""
    actions = [action for of_deal in deals for action in of_deal]
    try:
        done = _write(run, tenant, actions)
    except DatabaseConflictError as error:
        # A conflict says nothing of a deal: halving would wait for the same lock again and again. The task's retry
        # finds these deals still due.
        run.fail(f"{len(deals)} deals from {actions[0].target} on", error, rows=_rows(actions))
        return
    for row in done:
        run.done(row["kind"], row["rows"], row["firm_id"])
    run.skip(CHANGED, max(0, _rows(actions) - sum(row["rows"] for row in done)))
    run.progress(f"{run.outcome.done} of {run.outcome.planned} changes made")


def _refused(run: JobRun, deal: DealActions, error: StatementFailedError) -> None:
    run.fail(deal[0].target, error, rows=_rows(deal))


def _rows(actions: Sequence[Action]) -> int:
    return sum(action.rows for action in actions)


def _write(run: JobRun, tenant: Tenant, actions: Sequence[Action]) -> list[dict[str, Any]]:
    """Write the marks first: a stale alert opens only where the deal is marked, and closes only where it is not."""
    marks, opened, closed = (
        _carrying(StaleMark, actions),
        _carrying(NewAlert, actions),
        _carrying(ClosedAlerts, actions),
    )
    done: list[dict[str, Any]] = []
    with run.write(tenant) as tx:
        if marks:
            stale = [mark.stale for _, mark in marks]
            done += tx.rows("set_stale", now=run.now, stale=stale, **_columns(marks))
        if opened:
            done += tx.rows("open_alerts", now=run.now, **_texts(opened), **_columns(opened))
        if closed:
            facts = {
                "alert_types": [alerts.alert_type.value for _, alerts in closed],
                "are_open": [alerts.is_open for _, alerts in closed],
            }
            done += tx.rows("close_alerts", now=run.now, **facts, **_columns(closed))
    return done


def _carrying(kind: type[Change], actions: Iterable[Action]) -> list[tuple[int | None, Change]]:
    """Pick the actions that carry one kind of change, with their firms."""
    return [(action.firm_id, action.data) for action in actions if isinstance(action.data, kind)]


def _texts(opened: Sequence[tuple[int | None, NewAlert]]) -> dict[str, list[str]]:
    alerts = [alert for _, alert in opened]
    return {
        "alert_types": [alert.alert_type.value for alert in alerts],
        "priorities": [alert.priority for alert in alerts],
        "titles": [alert.title for alert in alerts],
        "messages": [alert.message for alert in alerts],
    }


def _columns(changes: Sequence[tuple[int | None, PlannedDeal]]) -> dict[str, list[Any]]:
    """Give, as parallel arrays, which deals are meant and the state in which they were planned for."""
    return {
        "firm_ids": [firm_id for firm_id, _ in changes],
        "deal_ids": [planned.deal for _, planned in changes],
        "last_activities": [planned.last_activity for _, planned in changes],
        "close_dates": [planned.close_date for _, planned in changes],
    }
