"""A sales firm, deals of every fate, and somebody else who writes between plan and apply."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cp_ops.runtime.job import JobRun


@pytest.fixture
def sales(world):
    """A firm with an admin, a partner who owns deals, and a manager."""
    firm = world.firm()
    return SimpleNamespace(
        firm=firm,
        admin=firm.user("Ada", role="admin"),
        partner=firm.user("Pat", role="partner"),
        manager=firm.user("Max", role="manager"),
    )


@pytest.fixture
def between_plan_and_apply(monkeypatch):
    """Run something after a job's plan was accepted and before it is applied."""

    def arrange(what):
        accept = JobRun.accept

        def accept_then(run, plan, **kwargs):
            applies = accept(run, plan, **kwargs)
            what()
            return applies

        monkeypatch.setattr(JobRun, "accept", accept_then)

    return arrange


@pytest.fixture
def busy(sales):
    """One deal of each fate."""
    firm, partner = sales.firm, sales.partner
    return SimpleNamespace(
        silent=firm.deal(owner=partner, team=[sales.manager], last_activity_days_ago=60),
        revived=firm.deal(owner=partner, last_activity_days_ago=1, is_stale=True),
        closing=firm.deal(owner=partner, last_activity_days_ago=1, closes_in_days=3),
        won=firm.deal(owner=partner, is_won=True).alert("close_date"),
        future=firm.deal(owner=partner, last_activity_days_ago=-5),
    )
