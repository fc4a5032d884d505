"""What execute_retention_policies never does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from cp_ops.runtime.errors import (
    OptionsError,
    RowsFailedError,
)
from tests.integration.privacy.any_row import AnyRow
from tests.integration.privacy.retention.retention_world import (
    LONG_AGO,
    count,
    executions,
    job,
    old_lead,
)


@pytest.mark.parametrize("days", [0, -1, -400])
def test_zero_and_negative_days_delete_nothing(world, owner, runner, days):
    firm = world.firm()
    firm.retention_policy("leads", days)
    old_lead(firm)
    if days < 0:
        with pytest.raises(RowsFailedError, match="correct the policy"):
            runner(job())
    else:
        runner(job())
        assert any("keep for ever" in reason for reason in runner.last.skip_reasons)
    assert count(owner, "crm_leads") == 1


def test_without_a_policy_with_an_inactive_one_and_of_an_unknown_type_nothing_goes(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("leads", 30, is_active=False)
    firm.retention_policy("horoscopes", 30)
    old_lead(firm)
    firm.webhook_event("stripe", age_days=900)
    outcome = runner(job())
    assert outcome.done == 0
    assert outcome.skip_reasons == {"unknown data type horoscopes": 1}
    assert count(owner, "crm_leads") == 1
    assert count(owner, "finance_stripe_webhook_events") == 1


def test_audit_events_younger_than_seven_years_stay_whatever_the_policy_says(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("audit_logs", 1)
    for years in (6.9, 7.1):
        firm.audit_event(age_days=years * 365.25)
    assert runner(job()).done_kinds == {"audit_logs_delete": 1}
    assert count(owner, "firm_audit_events", "action = 'client.updated'") == 1


def test_invoiced_time_entries_are_kept(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("time_entries", 30)
    user, client = firm.user(), firm.client()
    project = client.project()
    project.time_entry(user, days_ago=400)
    project.time_entry(user, days_ago=400, invoiced=True)
    project.time_entry(user, days_ago=400, invoice_id=client.invoice().id)
    outcome = runner(job())
    assert (outcome.done, outcome.skip_reasons["time_entries: invoiced"]) == (1, 2)
    assert count(owner, "projects_time_entries") == 2


def test_a_project_with_invoiced_hours_or_still_running_is_kept(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("projects", 30)
    client, user = firm.client(), firm.user()
    over = {"status": "completed", "end_date": date(2015, 1, 1)}
    client.project("gone", **over)
    client.project("billed", **over).time_entry(user, days_ago=4000, invoiced=True)
    client.project("running", status="in_progress", end_date=date(2015, 1, 1))
    outcome = runner(job())
    assert outcome.done == 1
    assert outcome.skip_reasons["projects: has invoiced time entries"] == 1
    assert outcome.skip_reasons["projects: not completed or cancelled"] == 1
    assert {row[0] for row in owner.execute("SELECT name FROM projects_projects")} == {"billed", "running"}


@pytest.mark.parametrize(
    "status", ["draft", "sent", "partial", "overdue", "failed", "disputed", "charged_back"]
)
def test_an_invoice_that_is_not_settled_is_kept(world, owner, runner, status):
    firm = world.firm()
    firm.retention_policy("invoices", 30)
    firm.client().invoice("10.00", status=status, issued_days_ago=4000)
    outcome = runner(job())
    assert (outcome.done, outcome.skip_reasons["invoices: not settled"]) == (0, 1)
    assert count(owner, "finance_invoices") == 1


def test_an_invoice_counts_from_the_day_it_was_paid(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("invoices", 365)
    today = datetime.now(UTC).date()
    client = firm.client()
    for paid in (today - timedelta(days=100), today - timedelta(days=400)):
        client.invoice("10.00", paid="10.00", status="paid", issued_days_ago=800, paid_date=paid)
    assert runner(job()).done == 1
    assert count(owner, "finance_invoices") == 1


@pytest.mark.parametrize("preserve", [True, False])
@pytest.mark.parametrize("action", ["archive", "anonymize", "delete"])
def test_a_document_under_legal_hold_is_kept_and_counted(world, owner, runner, preserve, action):
    """Also where the policy says that holds do not matter to it."""
    firm = world.firm()
    firm.retention_policy("documents", 30, action=action, preserve_legal_hold=preserve)
    firm.document("held.pdf", client=firm.client(), age_days=400, legal_hold=True, description="x")
    before = owner.execute("SELECT line::text FROM documents_documents AS line").fetchall()
    outcome = runner(job())
    assert (outcome.done, outcome.skip_reasons) == (0, {"documents: legal hold": 1})
    assert owner.execute("SELECT line::text FROM documents_documents AS line").fetchall() == before
    assert executions(owner)[0][6] == 1


def test_a_mail_whose_document_is_under_legal_hold_is_kept(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("email_artifacts", 30)
    held = firm.document(client=firm.client(), legal_hold=True)
    any_row = AnyRow(owner, firm.id)
    stored = any_row("email_ingestion_artifacts", sent_at=LONG_AGO, storage_ref_id=held.id)
    attached = any_row("email_ingestion_artifacts", sent_at=LONG_AGO)
    any_row("email_ingestion_attachments", email_artifact_id=attached, document_id=held.id)
    any_row("email_ingestion_artifacts", sent_at=LONG_AGO)
    outcome = runner(job(), data_type="emails")
    assert (outcome.done, outcome.skip_reasons["email_artifacts: legal hold"]) == (1, 2)
    assert {row[0] for row in owner.execute("SELECT id FROM email_ingestion_artifacts")} == {stored, attached}


def test_a_documents_own_retention_period_prolongs_the_policys(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("documents", 30)
    client = firm.client()
    for years in (1, 20):
        firm.document(
            f"{years}.pdf", client=client, age_days=800, retention_period_years=years, s3_key="", s3_bucket=""
        )
    outcome = runner(job())
    assert outcome.done == 1
    assert outcome.skip_reasons == {"documents: the document's own retention period is not over": 1}


def test_only_if_inactive_keeps_what_is_still_worked_on(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("leads", 30, only_if_inactive=True)
    old_lead(firm, status="qualified")
    old_lead(firm, status="lost")
    outcome = runner(job())
    assert (outcome.done, outcome.skip_reasons) == (1, {"leads: still active": 1})
    assert owner.execute("SELECT status FROM crm_leads").fetchone() == ("qualified",)


def test_the_cutoff_is_exact_to_the_day_of_the_firm(world, owner, runner):
    """At 03:00 UTC it is still yesterday in New York."""
    firm = world.firm(timezone="America/New_York")
    firm.retention_policy("time_entries", 30)
    project = firm.client().project()
    runner.now = datetime(2026, 6, 15, 3, tzinfo=UTC)
    for day in (date(2026, 5, 14), date(2026, 5, 15)):
        project.time_entry(firm.user(), date=day)
    runner(job())
    assert owner.execute("SELECT date FROM projects_time_entries").fetchall() == [(date(2026, 5, 15),)]


def test_a_firm_that_is_suspended_keeps_everything(world, owner, runner):
    firm = world.firm(status="suspended")
    firm.retention_policy("leads", 30)
    old_lead(firm)
    assert runner(job()).planned == 0
    with pytest.raises(OptionsError, match="firm_id"):
        runner(job(), firm_id=firm.id)
    assert count(owner, "crm_leads") == 1
