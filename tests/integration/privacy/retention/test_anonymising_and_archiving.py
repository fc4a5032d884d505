"""Anonymising and archiving: done once, and recognised."""

from __future__ import annotations

import json

import pytest

from tests.integration.privacy.any_row import AnyRow
from tests.integration.privacy.dumps import dump
from tests.integration.privacy.retention.retention_world import (
    CASES,
    DUE,
    IDS,
    count,
    executions,
    job,
    old_lead,
)


@pytest.mark.parametrize(("data_type", "target"), CASES, ids=IDS)
def test_anonymised_rows_are_recognised_by_the_second_run(world, owner, runner, data_type, target):
    firm = world.firm()
    policy = firm.retention_policy(data_type, 30, action="anonymize")
    AnyRow(owner, firm.id)(target.table, **DUE[target.table])
    first = runner(job())
    assert first.done >= 1
    second = runner(job())
    assert (second.planned, second.done, second.failed) == (0, 0, 0)
    assert [row[:6] for row in executions(owner)] == [
        (policy.id, "completed", first.done, 0, first.done, 0),
        (policy.id, "completed", 0, 0, 0, 0),
    ]
    assert count(owner, target.table) >= 1


def test_an_anonymised_ticket_has_no_person_left(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("support_tickets", 30, action="anonymize")
    ticket = firm.client().ticket(
        "canary subject",
        description="canary",
        contact_name="canary",
        contact_email="canary@x.example",
        created_at=world.ago(days=400),
    )
    world.insert(
        "support_ticket_comments", ticket_id=ticket.id, comment="canary", customer_email="canary@x.example"
    )
    runner(job())
    text = json.dumps(dump(owner, firm_id=firm.id)) + str(
        owner.execute("SELECT * FROM support_ticket_comments").fetchall()
    )
    assert "canary" not in text


def test_documents_are_archived_once(world, owner, runner):
    firm = world.firm()
    policy = firm.retention_policy("documents", 30, action="archive")
    document = firm.document(client=firm.client(), age_days=400)
    young = firm.document(client=firm.client(), age_days=3)
    runner(job())
    runner(job())
    assert (document.row()["status"], young.row()["status"]) == ("archived", young.row()["status"])
    assert young.row()["status"] != "archived"
    assert [row[:4] for row in executions(owner)] == [
        (policy.id, "completed", 1, 1),
        (policy.id, "completed", 0, 0),
    ]


def test_an_action_that_the_application_has_no_state_for_changes_nothing(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("leads", 30, action="archive")
    old_lead(firm)
    before = dump(owner, firm_id=firm.id)["crm_leads"]
    outcome = runner(job())
    assert outcome.skip_reasons == {"leads: the application has no way to archive them": 1}
    assert dump(owner, firm_id=firm.id)["crm_leads"] == before
