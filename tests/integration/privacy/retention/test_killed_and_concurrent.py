"""Killed and concurrent runs."""

from __future__ import annotations

import pytest

from cp_ops.privacy.retention import rows as retention_rows
from cp_ops.runtime.errors import (
    AlreadyRunningError,
)
from tests.integration.killed import let_leases_expire, run_killed_at
from tests.integration.privacy.dumps import dump
from tests.integration.privacy.retention.retention_world import (
    STEPS,
    count,
    executions,
    job,
    old_lead,
)

OWN_RECORDS = {"core_retention_executions", "firm_audit_events"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_killed_run_is_finished_by_the_next_one_and_the_log_stays_true(world, owner, runner, step, before):
    firm, other = world.firm(), world.firm()
    for name in ("support_tickets", "leads"):
        firm.retention_policy(name, 30)
    ticket = firm.client().ticket(created_at=world.ago(days=400))
    world.insert("support_ticket_comments", ticket_id=ticket.id, comment="x")
    old_lead(firm)
    old_lead(other)
    theirs = dump(owner, firm_id=other.id)
    assert run_killed_at(lambda: runner(job()), STEPS[step], before=before)
    comments, tickets = count(owner, "support_ticket_comments"), count(owner, "support_tickets")
    assert comments == tickets, "never a row without its children, or children without their row"
    claimed = owner.execute(
        "SELECT coalesce(sum(records_deleted), 0) FROM core_retention_executions"
    ).fetchone()[0]
    gone = 2 - tickets - count(owner, "crm_leads", f"firm_id = {firm.id}")
    assert claimed == gone, "the log says what happened, no more and no less"

    let_leases_expire(runner)
    runner(job())
    assert count(owner, "support_tickets") == 0
    assert count(owner, "crm_leads", f"firm_id = {firm.id}") == 0
    assert count(owner, "core_retention_executions", "status = 'running'") == 0
    total = owner.execute("SELECT sum(records_deleted) FROM core_retention_executions").fetchone()[0]
    assert total == 2
    assert {**dump(owner, firm_id=other.id), **dict.fromkeys(OWN_RECORDS)} == {
        **theirs,
        **dict.fromkeys(OWN_RECORDS),
    }


def test_two_runs_at_once_are_one(world, owner, runner, monkeypatch):
    firm = world.firm()
    firm.retention_policy("leads", 30)
    old_lead(firm)
    apply, refused = retention_rows.PolicyRows.apply, []

    def meanwhile(self, tx, after):
        if not refused:
            with pytest.raises(AlreadyRunningError):
                runner(job())
            refused.append(True)
        return apply(self, tx, after)

    monkeypatch.setattr(retention_rows.PolicyRows, "apply", meanwhile)
    assert runner(job()).done == 1
    assert refused
    assert len(executions(owner)) == 1
