"""The planner of the view refresh: which way, why, and what is refused."""

from __future__ import annotations

import pytest

from cp_ops.finance.views.plan import ReportingView, plan_refresh


def view(**facts):
    return ReportingView(
        **{"name": "mv", "owner": "app", "role": "cp_ops", "has_unique_index": True, "rows": 500} | facts
    )


def planned(found, *, concurrently="auto", max_rows=50_000):
    plan = plan_refresh([found], {}, concurrently=concurrently, max_rows=max_rows)
    assert plan.refused == ()
    [action] = plan.plan.actions
    return action.data["concurrently"], action.reason


def refusal(found, *, concurrently="auto"):
    plan = plan_refresh([found], {}, concurrently=concurrently, max_rows=50_000)
    assert plan.plan.actions == ()
    [(name, error)] = plan.refused
    assert name == "mv"
    return str(error)


@pytest.mark.parametrize(
    ("facts", "way", "why"),
    [
        ({"rows": 50_000}, True, "no reader waits"),
        ({"rows": 50_001}, False, "several times as long"),
        ({"rows": None}, False, "no refresh was logged"),
        ({"has_unique_index": False}, False, "without a unique index on plain columns"),
        ({"populated": False}, False, "before a plain refresh has populated it"),
    ],
)
def test_auto_is_concurrent_only_where_it_is_possible_and_pays(facts, way, why):
    concurrently, reason = planned(view(**facts))
    assert concurrently is way
    assert reason.startswith("concurrently: " if way else "plain: ")
    assert why in reason


def test_always_and_never_are_obeyed():
    assert planned(view(rows=10**9), concurrently="always") == (True, "concurrently: as asked")
    assert planned(view(), concurrently="never") == (False, "plain: as asked")


@pytest.mark.parametrize("facts", [{"has_unique_index": False}, {"populated": False}])
def test_always_is_an_error_where_it_is_impossible(facts):
    assert "cannot be refreshed concurrently" in refusal(view(**facts), concurrently="always")


@pytest.mark.parametrize("concurrently", ["auto", "always", "never"])
@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"present": False, "materialized": False, "may_refresh": False}, "no such view"),
        ({"materialized": False}, "not a materialized view"),
        ({"may_refresh": False}, "role cp_ops may not refresh it, it belongs to app: GRANT MAINTAIN"),
        ({"may_read": False}, "GRANT SELECT ON mv TO cp_ops"),
        ({"hidden_tables": ["finance_invoices", "projects_projects"]}, "emptied or filtered"),
    ],
)
def test_what_would_go_wrong_is_refused_before(facts, problem, concurrently):
    assert problem in refusal(view(**facts), concurrently=concurrently)


def test_one_refused_view_keeps_no_other_from_its_refresh():
    views = [view(name="gone", present=False), view(name="there")]
    found = plan_refresh(views, {}, concurrently="auto", max_rows=50_000)
    assert [action.target for action in found.plan.actions] == ["there"]
    assert [name for name, _ in found.refused] == ["gone"]


def test_open_log_rows_are_part_of_the_plan():
    with_stale = plan_refresh([view()], {"mv": [4, 9]}, concurrently="auto", max_rows=50_000).plan
    without = plan_refresh([view()], {}, concurrently="auto", max_rows=50_000).plan
    assert with_stale.rows == without.rows + 2
    assert with_stale.sha256 != without.sha256
