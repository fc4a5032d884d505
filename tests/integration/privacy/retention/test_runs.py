"""How execute_retention_policies runs: plan, log rows, batches, time, caps, failures."""

from __future__ import annotations

import itertools

import psycopg
import pytest

from cp_ops.privacy.retention import rows as retention_rows
from cp_ops.privacy.retention.covered_tables import COVERED_TABLES
from cp_ops.runtime.errors import (
    CapExceededError,
    PreflightError,
    RowsFailedError,
)
from tests.integration.privacy.retention.retention_world import (
    count,
    executions,
    job,
    old_lead,
    session,
)


def test_a_dry_run_shows_rows_and_dates_and_writes_only_its_outcome(world, owner, runner, written, caplog):
    caplog.set_level("INFO")
    firm = world.firm()
    firm.retention_policy("leads", 30)
    for days in (400, 500):
        old_lead(firm, days)
    before = written()
    preview = runner(job(), dry_run=True)
    assert {table for table, rows in written().items() if rows != before.get(table, 0)} == {"cp_ops.job_run"}
    assert (preview.planned, preview.done) == (2, 0)
    first, last = (world.ago(days=days).strftime("%Y-%m-%d") for days in (500, 400))
    assert f"from {first} to {last}" in caplog.text
    assert runner(job()).plan_sha256 == preview.plan_sha256


def test_the_second_run_writes_only_its_outcome_and_its_log_rows(world, runner, written):
    firm = world.firm()
    firm.retention_policy("leads", 30)
    old_lead(firm)
    runner(job())
    before = written()
    outcome = runner(job())
    assert {table for table, rows in written().items() if rows != before[table]} == {
        "cp_ops.job_run",
        "public.core_retention_executions",
    }
    assert (outcome.planned, outcome.done) == (0, 0)


def test_one_true_log_row_per_policy_and_real_run(world, owner, runner):
    """A trap: the log claimed what had not happened, or was written by dry runs."""
    firm = world.firm()
    leads = firm.retention_policy("leads", 30)
    prospects = firm.retention_policy("prospects", 30, action="anonymize")
    forever = firm.retention_policy("documents", 0)
    for days in (400, 401, 2):
        old_lead(firm, days)
    firm.prospect(created_at=world.ago(days=400))
    runner(job(), dry_run=True)
    assert executions(owner) == []
    runner(job())
    assert executions(owner) == [
        (leads.id, "completed", 2, 0, 0, 2, 0),
        (prospects.id, "completed", 1, 0, 1, 0, 0),
        (forever.id, "completed", 0, 0, 0, 0, 0),
    ]


def test_many_rows_go_in_batches_and_none_is_left(world, owner, runner, monkeypatch):
    firm = world.firm()
    firm.retention_policy("leads", 30)
    for days in range(400, 425):
        old_lead(firm, days)
    old_lead(firm, 3)
    applied = []
    apply = retention_rows.PolicyRows.apply

    def counted(self, tx, after):
        object.__setattr__(self.covered, "batch", 7)
        applied.append(batch := apply(self, tx, after))
        return batch

    (target,) = COVERED_TABLES["leads"]
    monkeypatch.setattr(retention_rows.PolicyRows, "apply", counted)
    try:
        assert runner(job()).done == 25
    finally:
        object.__setattr__(target, "batch", 1_000)
    assert [batch.done for batch in applied] == [7, 7, 7, 4, 0]
    assert count(owner, "crm_leads") == 1


def test_when_the_time_is_up_it_stops_cleanly_and_says_what_is_left(world, owner, runner):
    firm = world.firm(timezone="UTC")
    policies = [firm.retention_policy(name, 30) for name in ("leads", "prospects")]
    old_lead(firm)
    firm.prospect(created_at=world.ago(days=500))
    ticks = itertools.chain([0.0, 30.0], itertools.repeat(61.0))
    outcome = runner(job(clock=lambda: next(ticks)), max_minutes=1)
    assert outcome.done == 1
    assert outcome.skip_reasons["the time is up: left for the next run"] == 1
    assert outcome.numbers["oldest_left"].startswith(world.ago(days=500).strftime("%Y-%m-%d"))
    result = owner.execute(
        "SELECT execution_result FROM core_retention_executions WHERE policy_id = %s", [policies[1].id]
    ).fetchone()[0]
    assert result["left"] == 1
    assert runner(job()).done == 1, "the next run goes on"


def test_rows_that_the_application_holds_are_passed_over_and_found_again(world, owner, runner, app_db):
    firm = world.firm()
    firm.retention_policy("leads", 30)
    held, free = old_lead(firm), old_lead(firm)
    with psycopg.connect(app_db.owner_dsn) as application:
        application.execute("UPDATE crm_leads SET notes = 'call back' WHERE id = %s", [held])
        outcome = runner(job())
        assert outcome.done == 1
        assert outcome.skip_reasons["leads: changed or held by the application meanwhile"] == 1
    assert [row[0] for row in owner.execute("SELECT id FROM crm_leads")] == [held]
    assert free
    assert runner(job()).done == 1


def test_a_hold_that_is_set_after_the_plan_is_respected(world, owner, runner, monkeypatch):
    firm = world.firm()
    firm.retention_policy("documents", 30)
    document = firm.document(client=firm.client(), age_days=400, s3_key="", s3_bucket="")
    apply = retention_rows.PolicyRows.apply

    def hold_first(self, tx, after):
        owner.execute("UPDATE documents_documents SET legal_hold = true WHERE id = %s", [document.id])
        return apply(self, tx, after)

    monkeypatch.setattr(retention_rows.PolicyRows, "apply", hold_first)
    assert runner(job()).done == 0
    assert document.row()["legal_hold"]


def test_a_policy_that_fails_does_not_stop_the_others_and_its_row_says_so(world, owner, runner):
    firm = world.firm()
    leads, prospects = firm.retention_policy("leads", 30), firm.retention_policy("prospects", 30)
    old_lead(firm)
    firm.prospect(created_at=world.ago(days=400))
    owner.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'canary-value'; END $$;"
        "CREATE TRIGGER refuse BEFORE DELETE ON crm_leads FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    with pytest.raises(RowsFailedError, match="leads:policy"):
        runner(job())
    rows = owner.execute(
        "SELECT policy_id, status, records_deleted, error_message FROM core_retention_executions ORDER BY policy_id"
    ).fetchall()
    assert [row[:3] for row in rows] == [(leads.id, "failed", 0), (prospects.id, "completed", 1)]
    assert "canary" not in rows[0][3]
    assert (count(owner, "crm_leads"), count(owner, "crm_prospects")) == (1, 0)


def test_more_than_the_cap_stops_before_the_first_row(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("leads", 30)
    old_lead(firm)
    with pytest.raises(CapExceededError, match="retention_max_changes to at least 1"):
        runner.with_settings(retention_max_changes=0)(job())
    assert count(owner, "crm_leads") == 1
    assert executions(owner) == []


def test_a_missing_index_on_a_large_table_is_named_and_the_policy_waits(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("leads", 30)
    old_lead(firm)
    owner.execute("DROP INDEX score_adjustments_lead_id_idx")
    assert runner(job(), dry_run=True).planned == 1, "a small table needs no index"
    lead = firm.lead()
    owner.execute(
        "INSERT INTO score_adjustments (lead_id, points, reason, applied_at)"
        " SELECT %s, 1, '', now() FROM generate_series(1, 60000)",
        [lead],
    )
    owner.execute("ANALYZE score_adjustments")
    outcome = runner(job())
    assert outcome.skip_reasons == {
        "leads: batches would be slow without an index on score_adjustments (lead_id)": 1
    }
    assert count(owner, "crm_leads") == 2


def test_a_missing_policy_table_fails_before_anything_and_a_missing_data_table_is_a_skip(
    world, owner, runner
):
    firm = world.firm()
    firm.retention_policy("support_tickets", 30)
    owner.execute("DROP TABLE support_survey_responses, support_ticket_comments, support_tickets CASCADE")
    assert runner(job()).skip_reasons == {"support_tickets: this deployment has no table for them": 1}
    owner.execute("DROP TABLE core_retention_executions, core_retention_policies CASCADE")
    with pytest.raises(PreflightError, match="table core_retention_policies is missing"):
        runner(job())


def test_row_level_security_changes_nothing(world, owner, enable_row_level_security):
    for days in (30, 4000):
        firm = world.firm()
        firm.retention_policy("leads", days)
        firm.retention_policy("sessions", days)
        old_lead(firm)
        firm.client().project(status="completed").time_entry(firm.user(), days_ago=400)
        firm.retention_policy("time_entries", days)
    session(owner, 4100)
    guarded = enable_row_level_security()
    outcome = guarded(job())
    assert outcome.done_kinds == {"leads_delete": 1, "time_entries_delete": 1, "sessions_delete": 1}


def test_the_audit_event_has_counts_and_no_names(world, owner, runner):
    firm = world.firm()
    firm.retention_policy("leads", 30)
    old_lead(firm, contact_name="canary")
    runner(job())
    category, action, metadata = owner.execute(
        "SELECT category, action, metadata FROM firm_audit_events WHERE firm_id = %s", [firm.id]
    ).fetchone()
    assert (category, action, metadata["leads_delete"]) == ("PURGE", "execute_retention_policies.run", 1)
    assert "canary" not in str(metadata)
