"""execute_retention_policies against a real database and real S3."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from cp_ops.hooks.object_writer import S3ObjectWriter
from cp_ops.privacy.catalogue import read_catalogue
from cp_ops.privacy.retention import rows as retention_rows
from cp_ops.privacy.retention.job import ExecuteRetentionPolicies
from cp_ops.privacy.retention.targets import TARGETS, descend, unknown_references
from cp_ops.runtime.database import Transaction
from cp_ops.runtime.errors import (
    AlreadyRunningError,
    CapExceededError,
    OptionsError,
    PreflightError,
    RowsFailedError,
)
from cp_ops.runtime.field_encryption import FieldEncryption, LocalKms
from cp_ops.runtime.outcome import Outcome
from sandbox.world import encryption
from sandbox.world.documents import StoredFile
from tests.integration.killed import let_leases_expire, run_killed_at
from tests.integration.privacy.any_row import AnyRow
from tests.integration.privacy.dumps import dump

LONG_AGO = datetime(2012, 1, 1, tzinfo=UTC)
OWN_RECORDS = {"core_retention_executions", "firm_audit_events"}


class NoStore:
    """Tables without objects need no store."""

    calls = 0

    def delete_versions(self, bucket, keys):
        raise AssertionError("no object was to be deleted")


def field_encryption():
    kms = encryption.LocalKms.from_environment()
    return FieldEncryption(LocalKms(kms.master_key), kms.default_key_id)


def job(store=None, **kwargs):
    return ExecuteRetentionPolicies(store or NoStore(), field_encryption, **kwargs)


def count(owner, table, where="true"):
    return owner.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]


def executions(owner):
    return owner.execute(
        "SELECT policy_id, status, records_processed, records_archived, records_anonymized, records_deleted,"
        " records_skipped FROM core_retention_executions ORDER BY policy_id, id"
    ).fetchall()


def old_lead(firm, days=400, **columns):
    return firm.lead(created_at=firm.world.ago(days=days), **columns)


# -- deleting: children in order, one firm only ----------------------------------------------------------------------

DUE = {
    "email_ingestion_artifacts": {"sent_at": LONG_AGO},
    "communications_message": {"created_at": LONG_AGO},
    "clients_message": {"created_at": LONG_AGO},
    "sms_messages": {"created_at": LONG_AGO},
    "documents_documents": {"created_at": LONG_AGO, "legal_hold": False, "s3_key": "", "s3_bucket": ""},
    "firm_audit_events": {"timestamp": LONG_AGO},
    "finance_invoices": {
        "status": "paid",
        "issue_date": date(2012, 1, 1),
        "paid_date": date(2012, 2, 1),
        "total_amount": 5,
        "amount_paid": 5,
    },
    "projects_projects": {"status": "completed", "end_date": date(2012, 1, 1)},
    "projects_time_entries": {"date": date(2012, 1, 1), "invoiced": False},
    "crm_leads": {"created_at": LONG_AGO},
    "crm_prospects": {"created_at": LONG_AGO},
    "support_tickets": {"closed_at": LONG_AGO},
}
CHILD = {
    "documents_locks": {"expires_at": LONG_AGO},
    "documents_versions": {"s3_key": "", "s3_bucket": ""},
}
CASES = [
    (data_type, target)
    for data_type, targets in TARGETS.items()
    for target in targets
    if data_type != "emails"
]
IDS = [f"{data_type}-{target.name}" for data_type, target in CASES]


@pytest.mark.parametrize(("data_type", "target"), CASES, ids=IDS)
def test_a_row_goes_with_its_children_and_what_only_points_at_it_stays(
    world, owner, runner, data_type, target
):
    firm, other = world.firm(), world.firm()
    keys = {}
    for tenant in (firm, other):
        tenant.retention_policy(data_type, 30)
        any_row = AnyRow(owner, tenant.id)
        key = any_row(target.table, **DUE[target.table])
        made = {(): key}
        for path, child in sorted(descend(target.children), key=lambda item: len(item[0])):
            exists = owner.execute("SELECT to_regclass(%s) IS NOT NULL", [child.table]).fetchone()[0]
            if exists:
                made[(*path, child)] = any_row(
                    child.table, **{child.column: made[path]} | CHILD.get(child.table, {})
                )
        keys[tenant.id] = made
    theirs = dump(owner, firm_id=other.id)

    option = {"email_artifacts": "emails", "communications": "emails"}.get(data_type, data_type)
    outcome = runner(job(), firm_id=firm.id, data_type=option)

    assert outcome.failed == 0
    assert outcome.done >= 1
    for path, key in keys[firm.id].items():
        table = path[-1].table if path else target.table
        column = "appointment_id" if table == "calendar_appointments" else "id"
        left = count(owner, table, f"{column} = {key}")
        if path and path[-1].stays:
            assert left == 1, table
            assert owner.execute(f"SELECT {path[-1].column} FROM {table} WHERE id = {key}").fetchone() == (
                None,
            )
        else:
            assert left == 0, table
    for path, key in keys[other.id].items():
        assert count(owner, path[-1].table if path else target.table, f"id = {key}") == 1
    assert dump(owner, firm_id=other.id) == theirs


def test_every_key_to_a_row_that_is_deleted_is_known_in_our_schema(runner):
    with runner.connect() as connection:
        catalogue = read_catalogue(
            Transaction(connection, "privacy/retention", Outcome("test", dry_run=True))
        )
    unknown = {
        str(key)
        for targets in TARGETS.values()
        for target in targets
        for key in unknown_references(target, catalogue)
    }
    assert unknown == set()


def test_a_key_that_is_not_known_stops_its_policy_before_the_first_deletion_and_no_other(
    world, owner, runner
):
    firm = world.firm()
    leads, prospects = firm.retention_policy("leads", 30), firm.retention_policy("prospects", 30)
    old_lead(firm)
    firm.prospect(created_at=world.ago(days=400))
    owner.execute("CREATE TABLE lead_badges (id bigint PRIMARY KEY, lead_id bigint REFERENCES crm_leads)")
    with pytest.raises(RowsFailedError, match=r"lead_badges.lead_id -> crm_leads"):
        runner(job())
    assert (count(owner, "crm_leads"), count(owner, "crm_prospects")) == (1, 0)
    assert [(row[0], row[1], row[5]) for row in executions(owner)] == [
        (leads.id, "failed", 0),
        (prospects.id, "completed", 1),
    ]


# -- what is never done ----------------------------------------------------------------------------------------------


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


# -- anonymising and archiving ---------------------------------------------------------------------------------------


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


# -- sessions and webhooks -------------------------------------------------------------------------------------------


def session(owner, expired_days_ago):
    owner.execute(
        "INSERT INTO django_session VALUES (%s, 'x', now() - %s * interval '1 day')",
        [f"s{expired_days_ago}", expired_days_ago],
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


# -- how it runs -----------------------------------------------------------------------------------------------------


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
        object.__setattr__(self.target, "batch", 7)
        applied.append(batch := apply(self, tx, after))
        return batch

    (target,) = TARGETS["leads"]
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


# -- objects ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(s3):
    writer = S3ObjectWriter()
    writer.__dict__["client"] = s3.client
    return writer


@pytest.fixture
def stored(world, s3):
    """A firm with a policy and an old document of two versions, in a versioned bucket."""
    firm = world.firm()
    firm.retention_policy("documents", 30)
    s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    keys = ["docs/one", "docs/two", "docs/young"]
    for key, _ in itertools.product(keys, range(2)):
        s3.client.put_object(Bucket=s3.name, Key=key, Body=b"x")
    client = firm.client()
    versions = [StoredFile(s3.name, key) for key in keys]
    firm.document("old.pdf", client=client, versions=versions[:2], age_days=400)
    firm.document("young.pdf", client=client, versions=versions[2:], age_days=3)
    return firm


def left(s3):
    listed = s3.client.list_object_versions(Bucket=s3.name)
    return sorted(entry["Key"] for entry in (*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())))


def pending(runner):
    with runner.connect() as connection:
        return connection.execute("SELECT count(*) FROM cp_ops.object_deletion").fetchone()[0]


def test_a_deleted_documents_objects_go_with_all_their_versions(stored, owner, runner, store, s3):
    outcome = runner(job(store))
    assert outcome.numbers["objects_deleted"] == 2
    assert left(s3) == ["docs/young", "docs/young"]
    assert count(owner, "documents_versions") == 1
    assert pending(runner) == 0


def test_an_object_that_another_document_still_names_stays(stored, owner, runner, store, s3, world):
    first = owner.execute(
        "SELECT s3_key, s3_bucket, s3_fingerprint FROM documents_versions ORDER BY id"
    ).fetchone()
    owner.execute(
        "UPDATE documents_documents SET s3_key = %s, s3_bucket = %s, s3_fingerprint = %s WHERE name = 'young.pdf'",
        first,
    )
    outcome = runner(job(store))
    assert outcome.skip_reasons["objects: another document still names it"] == 1
    assert left(s3) == ["docs/one"] * 2 + ["docs/young"] * 2


def test_an_object_that_could_not_be_deleted_is_deleted_by_the_next_run(
    stored, owner, runner, store, s3, monkeypatch
):
    from cp_ops.runtime.errors import RemoteRefusedError, TransientRowsFailedError

    def refused(bucket, keys):
        raise RemoteRefusedError("access denied")

    monkeypatch.setattr(store, "delete_versions", refused)
    with pytest.raises((RowsFailedError, TransientRowsFailedError), match="access denied"):
        runner(job(store))
    assert count(owner, "documents_documents", "name = 'old.pdf'") == 0
    assert pending(runner) == 2
    monkeypatch.undo()
    assert runner(job(store)).numbers["objects_deleted"] == 2
    assert left(s3) == ["docs/young"] * 2
    assert pending(runner) == 0


# -- killed and concurrent runs --------------------------------------------------------------------------------------

STEPS = {
    "execution begun": "cp_ops.privacy.retention.execution:Execution._begin",
    "batch in its transaction": "cp_ops.privacy.retention.rows:PolicyRows.apply",
    "children deleted": "cp_ops.privacy.retention.rows:PolicyRows._act",
    "rows collected": "cp_ops.privacy.retention.rows:PolicyRows._filled",
    "execution finished": "cp_ops.privacy.retention.execution:Execution._finish",
    "objects deleted": "cp_ops.privacy.retention.object_deletion:ObjectDeletions.carry_out",
    "audited": "cp_ops.runtime.job:JobRun.audit",
}


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


def test_objects_of_a_run_that_was_killed_after_the_rows_go_with_the_next_one(
    stored, owner, runner, store, s3
):
    assert run_killed_at(lambda: runner(job(store)), STEPS["objects deleted"], before=True)
    assert count(owner, "documents_documents", "name = 'old.pdf'") == 0
    assert len(left(s3)) == 6
    let_leases_expire(runner)
    assert runner(job(store)).numbers["objects_deleted"] == 2
    assert left(s3) == ["docs/young"] * 2


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
