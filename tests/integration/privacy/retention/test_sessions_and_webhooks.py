"""Sessions, which belong to no firm, and webhook events."""

from __future__ import annotations

from tests.integration.privacy.retention.retention_world import (
    count,
    executions,
    job,
    session,
)


def test_the_longest_retention_of_all_firms_decides_over_sessions(world, owner, runner):
    world.firm(timezone="UTC").retention_policy("sessions", 10)
    longest = world.firm(timezone="UTC").retention_policy("sessions", 40)
    world.firm(status="canceled").retention_policy("sessions", 4000)
    for days in (5, 20, 50, -3):
        session(owner, days)
    outcome = runner(job(), data_type="sessions")
    assert outcome.done_kinds == {"sessions_delete": 1}
    assert {row[0] for row in owner.execute("SELECT session_key FROM django_session")} == {"s5", "s20", "s-3"}
    assert [(row[0], row[5]) for row in executions(owner) if row[5]] == [(longest.id, 1)]


def test_one_firm_that_keeps_sessions_for_ever_keeps_them_all(world, owner, runner):
    world.firm().retention_policy("sessions", 10)
    world.firm().retention_policy("sessions", 0)
    session(owner, 400)
    assert runner(job()).done == 0
    assert count(owner, "django_session") == 1


def test_a_run_for_one_firm_leaves_sessions_to_the_firm_that_decides(world, owner, runner):
    short = world.firm()
    short.retention_policy("sessions", 10)
    world.firm().retention_policy("sessions", 40)
    session(owner, 400)
    assert runner(job(), firm_id=short.id, data_type="sessions").done == 0
    assert count(owner, "django_session") == 1


def test_webhook_events_go_by_policy_but_never_unprocessed_or_young_ones(world, owner, runner):
    firm, other = world.firm(), world.firm()
    firm.retention_policy("webhooks", 1)
    for tenant in (firm, other):
        tenant.webhook_event("stripe", age_days=40)
        tenant.webhook_event("stripe", age_days=20)
        tenant.webhook_event("stripe", age_days=400, processed=False)
        tenant.webhook_event("docusign", age_days=40)
    outcome = runner(job(), data_type="webhooks")
    assert outcome.done_kinds == {"stripe_webhooks_delete": 1, "docusign_webhooks_delete": 1}
    assert outcome.skip_reasons == {"stripe_webhooks: not processed or failed": 1}
    assert count(owner, "finance_stripe_webhook_events", f"firm_id = {firm.id}") == 2
    assert count(owner, "finance_stripe_webhook_events", f"firm_id = {other.id}") == 3
