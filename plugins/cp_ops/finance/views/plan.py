"""Whether and how each reporting view can be refreshed: the planner of refresh_materialized_views."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import PreflightError
from cp_ops.runtime.plan import Action, Payload, Plan, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cp_ops.finance.views.options import Concurrently

REFRESH = "refresh"
CLOSE = "close_stale_log"
ADVICE = "include/sql/optional/corrected_views.sql adds one"


@dataclass(frozen=True, slots=True)
class ReportingView:
    """What decides whether and how a view can be refreshed.

    :param role: who would refresh it; `owner` is as whom a refresh reads.
    :param has_unique_index: one over plain columns and without WHERE, which CONCURRENTLY needs.
    :param rows: as many as the last logged refresh wrote; None when none was logged.
    :param hidden_tables: tables under the view from whose rows row-level security hides some from the owner.
    """

    name: str
    present: bool = True
    materialized: bool = True
    owner: str = ""
    role: str = ""
    may_read: bool = True
    may_refresh: bool = True
    populated: bool = True
    has_unique_index: bool = False
    rows: int | None = None
    hidden_tables: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class CloseLogs(Payload):
    """Close the log rows that dead runs left open."""

    ids: tuple[int, ...]

    def hashed(self) -> dict[str, Scalar]:
        """Give the ids as the one text that the plan's hash covers."""
        return {"ids": ",".join(map(str, self.ids))}


@dataclass(frozen=True, slots=True, eq=False)
class RefreshView(Payload):
    """Refresh the view that the action's target names."""

    concurrently: bool


@dataclass(frozen=True)
class RefreshPlan:
    """The plan, and the views that must not be refreshed as they stand, each with its error."""

    plan: Plan
    refused: tuple[tuple[str, PreflightError], ...]


def plan_refresh(
    views: Iterable[ReportingView],
    stale_logs: Mapping[str, Sequence[int]],
    *,
    concurrently: Concurrently,
    max_rows: int,
) -> RefreshPlan:
    """Plan the refresh of each view, and the closing of log rows that dead runs left open. Pure.

    :param stale_logs: per view, the ids of such rows.
    :param max_rows: the size up to which `auto` refreshes concurrently.
    """
    actions = [
        Action(
            CLOSE,
            f"finance_mv_refresh_log:{name}",
            "marked running, but no refresh is under way",
            rows=len(ids),
            data=CloseLogs(tuple(ids)),
        )
        for name, ids in sorted(stale_logs.items())
    ]
    refused: list[tuple[str, PreflightError]] = []
    for view in views:
        problem = _problem(view) or (_obstacle(view) if concurrently == "always" else "")
        if problem:
            refused.append((view.name, PreflightError(problem)))
            continue
        together, why = _way(view, concurrently, max_rows)
        reason = f"{'concurrently' if together else 'plain'}: {why}"
        actions.append(Action(REFRESH, view.name, reason, data=RefreshView(together)))
    return RefreshPlan(Plan(tuple(actions)), tuple(refused))


def _problem(view: ReportingView) -> str:
    """Say why a view must not be refreshed at all; empty when it can be."""
    # The order matters: a missing view has no owner, and what is no materialized view cannot be refreshed by anybody.
    if not view.present:
        return "this deployment has no such view: the application's migrations create it"
    if not view.materialized:
        return "is not a materialized view"
    if not view.may_refresh:
        return (
            f"role {view.role} may not refresh it, it belongs to {view.owner}: "
            f"GRANT MAINTAIN ON {view.name} TO {view.role} (PostgreSQL 17 and later), "
            f"or make {view.role} its owner or a member of {view.owner}"
        )
    if not view.may_read:
        return f"role {view.role} may not count its rows: GRANT SELECT ON {view.name} TO {view.role}"
    if view.hidden_tables:
        return (
            f"a refresh reads as the view's owner {view.owner}, from whom row-level security hides rows of "
            f"{', '.join(view.hidden_tables)}: the view would be emptied or filtered, without an error. "
            f"Give the view to a role that has BYPASSRLS: ALTER MATERIALIZED VIEW {view.name} OWNER TO ..."
        )
    return ""


def _obstacle(view: ReportingView) -> str:
    """Say what keeps a view from being refreshed concurrently; empty when nothing does."""
    if not view.populated:
        return "cannot be refreshed concurrently before a plain refresh has populated it"
    if not view.has_unique_index:
        return f"cannot be refreshed concurrently without a unique index on plain columns; {ADVICE}"
    return ""


def _way(view: ReportingView, concurrently: Concurrently, max_rows: int) -> tuple[bool, str]:
    """Choose whether to refresh concurrently, and say why."""
    if concurrently != "auto":
        return concurrently == "always", "as asked"
    if obstacle := _obstacle(view):
        return False, obstacle
    if view.rows is None:
        return False, "no refresh was logged that would tell its size"
    if view.rows > max_rows:
        # PostgreSQL builds the new rows beside the old ones, joins both in full, and writes the differences.
        slower = "takes several times as long as writing them"
        return False, f"comparing {view.rows:,} old rows with the new ones {slower}"
    return True, f"comparing {view.rows:,} rows costs next to nothing, and no reader waits"
