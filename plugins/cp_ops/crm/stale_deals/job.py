"""check_stale_deals: mark deals without activity as stale, unmark those active again, keep their alerts in step."""

from __future__ import annotations

from contextlib import closing
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, cast

from cp_ops.crm.stale_deals.options import CheckStaleDealsOptions
from cp_ops.crm.stale_deals.plan import MARK, UNMARK, Deal, plan_stale_deals
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import DatabaseConflictError, RowFailedError, StatementFailedError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.plan import Action, Plan
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.firms import Firm

BATCH = 1_000
"""Deals per transaction; each takes at most three statements, whatever the number of deals."""
CHANGED = "changed meanwhile"


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
