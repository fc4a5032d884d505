"""execute_erasure_request against a real database and a real S3 server: two firms in every test."""

from __future__ import annotations

import re
import threading

import pytest

from cp_ops.privacy.erasure.execution import ErasureExecution
from cp_ops.privacy.erasure.job import ExecuteErasureRequest
from cp_ops.privacy.erasure.plan import ErasureBlockedError
from cp_ops.runtime.errors import AlreadyRunningError, OptionsError, PlanChangedError
from tests.integration.privacy.erasures import (
    PERSON,
    SECRETS,
    execute,
    firm_dump,
    no_objects,
    request_for,
    set_hold,
    versions_of,
)


def test_a_contact_is_erased_everywhere_in_the_firm_and_nowhere_else(runner, db, people):
    before_b = firm_dump(db, people.firm_b.id)
    request = request_for(people.firm_a, people.contact_a, people)
    outcome = execute(runner, request)

    assert firm_dump(db, people.firm_b.id) == before_b
    kept = {"core_erasure_request"}
    for table, rows in firm_dump(db, people.firm_a.id).items():
        if table not in kept:
            for (row,) in rows:
                assert not any(secret in row.lower() for secret in SECRETS), (table, row)
    contact = people.contact_a.row()
    assert re.fullmatch(r"erased-\d+@erased\.invalid", contact["email"])
    assert contact["phone"] == contact["notes"] == ""
    assert people.colleague_a.row()["email"] == "olga@nowhere.example"
    client = people.client_a.row()
    assert client["company_name"] == "Larch a", "a client is not its contact"
    account = people.portal_account_a.row()
    assert (account["is_active"], account["password"]) == (False, "")
    assert outcome.failed == 0


def test_another_persons_rows_of_the_same_client_stay(runner, db, people):
    before = db.execute(
        "SELECT t::text FROM support_tickets t WHERE contact_name = 'Olga Other' ORDER BY 1"
    ).fetchall()
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    after = db.execute(
        "SELECT t::text FROM support_tickets t WHERE contact_name = 'Olga Other' ORDER BY 1"
    ).fetchall()
    assert after == before


def test_the_result_the_counts_and_the_hash_are_on_the_request_and_no_value_is(runner, db, people):
    """A trap: the e-mail address went into the audit log."""
    request = request_for(people.firm_a, people.contact_a, people)
    outcome = execute(runner, request)
    row = request.row()
    assert row["status"] == "completed"
    assert row["executed_at"] is not None
    result = row["execution_result"]
    assert result["plan"] == f"sha256:{outcome.plan_sha256}"
    assert result["tables"]["clients_contact"] == 1
    assert result["search"]["found"] == 0
    assert result["search"]["tables"] > 20
    assert row["audit_events"][0]["event"] == "executed"
    for table in (
        "firm_audit_events",
        "core_erasure_request",
        "cp_ops.erasure",
        "cp_ops.job_run",
        "cp_ops.finding",
    ):
        text = str(db.execute(f"SELECT t::text FROM {table} t").fetchall()).lower()
        assert not any(secret in text for secret in SECRETS), table
    assert db.execute("SELECT count(*) FROM cp_ops.erasure_row").fetchone() == (0,)
    assert db.execute("SELECT count(*) FROM firm_audit_events WHERE category = 'PURGE'").fetchone() == (1,)


def test_a_dry_run_writes_only_its_outcome_and_plans_the_same(runner, db, people, written):
    request = request_for(people.firm_a, people.contact_a, people)
    before = written()
    preview = execute(runner, request, dry_run=True)
    assert {table for table, rows in written().items() if rows != before.get(table, 0)} == {"cp_ops.job_run"}
    assert preview.plan_sha256 == execute(runner, request).plan_sha256


def test_the_preview_shows_counts_and_reasons_and_no_value(runner, people, caplog):
    job = ExecuteErasureRequest(no_objects)
    with caplog.at_level("INFO"):
        runner(job, request_id=request_for(people.firm_a, people.contact_a, people).id, dry_run=True)
    text = job.approval_text
    assert "| clients_contact | email | pseudonymise | 1 | Says who a person is" in text
    assert "Blockers: none." in text
    assert f"Plan `sha256:{runner.last.plan_sha256}`" in text
    assert not any(secret in (text + caplog.text).lower() for secret in SECRETS)


def test_running_it_again_changes_nothing_and_says_so(runner, people, written):
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    before = written()
    outcome = execute(runner, request)
    assert outcome.skip_reasons == {"the request is completed already: nothing to do": 1}
    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}


@pytest.mark.parametrize("status", ["pending", "evaluating", "rejected", "executing", "failed"])
def test_only_an_approved_request_is_executed(runner, people, status):
    request = request_for(people.firm_a, people.contact_a, people, status=status)
    with pytest.raises(OptionsError, match=f"^request_id: request {request.id} is {status}"):
        execute(runner, request)
    assert people.contact_a.row()["email"] == PERSON["email"]


def test_a_request_approved_by_its_requester_is_refused(runner, people):
    request = people.firm_a.erasure_request(
        people.contact_a, requested_by=people.boss_a, approved_by=people.boss_a
    )
    with pytest.raises(OptionsError, match="approved by the person who made it"):
        execute(runner, request)


def test_a_request_that_nobody_approved_is_refused(runner, people):
    request = people.firm_a.erasure_request(people.contact_a, requested_by=people.boss_a, status="approved")
    with pytest.raises(OptionsError, match="does not say who approved it"):
        execute(runner, request)


def test_the_entity_of_another_firm_is_refused(runner, db, people):
    before = firm_dump(db, people.firm_b.id)
    for subject in (people.contact_b, people.client_b):
        with pytest.raises(OptionsError, match=r"is not one of firm \d+'s"):
            execute(runner, request_for(people.firm_a, subject, people))
    assert firm_dump(db, people.firm_b.id) == before


def test_a_request_that_does_not_exist_is_named(runner, people):
    with pytest.raises(OptionsError, match="request 4711 does not exist"):
        runner(ExecuteErasureRequest(no_objects), request_id=4711)


def block(people, how):
    client = people.client_a
    if how == "open invoices":
        client.invoice(total="200.00", paid="50.00", status="partial")
    elif how == "active engagements":
        client.engagement()
    elif how == "active projects":
        client.project(status="in_progress")
    elif how == "retainer balance":
        client.update(retainer_balance="12.50")
    else:
        people.firm_a.document(client=client, legal_hold=True)


@pytest.mark.parametrize(
    "how", ["open invoices", "active engagements", "active projects", "retainer balance", "legal hold"]
)
def test_each_blocker_stops_the_run_and_is_named_in_the_preview(runner, db, people, how):
    block(people, how)
    before = firm_dump(db, people.firm_a.id)
    request = request_for(people.firm_a, people.client_a, people)
    before["core_erasure_request"] = firm_dump(db, people.firm_a.id)["core_erasure_request"]
    job = ExecuteErasureRequest(no_objects)
    runner(job, request_id=request.id, dry_run=True)
    assert f"Blockers: {how} (1)." in job.approval_text
    with pytest.raises(ErasureBlockedError, match=rf"blocked by {how} \(1\)"):
        execute(runner, request)
    assert firm_dump(db, people.firm_a.id) == before


def test_approval_is_bound_to_the_plan(runner, people):
    request = request_for(people.firm_a, people.contact_a, people)
    approved = f"sha256:{execute(runner, request, dry_run=True).plan_sha256}"
    people.client_a.ticket("Quentin again", contact_name="Quentin Zuckmayer", contact_email=PERSON["email"])
    with pytest.raises(PlanChangedError, match="look at a new preview"):
        execute(runner, request, approved=approved)
    assert people.contact_a.row()["email"] == PERSON["email"]
    assert request.row()["status"] == "approved"
    approved = f"sha256:{execute(runner, request, dry_run=True).plan_sha256}"
    execute(runner, request, approved=approved)
    assert request.row()["status"] == "completed"


def test_a_request_that_was_changed_while_it_was_executed_is_not_completed(runner, people, monkeypatch):
    """Somebody points it at another entity after the begin: what was erased is not what it names."""
    request = request_for(people.firm_a, people.contact_a, people)
    erase = ErasureExecution.erase_dependants

    def change(self):
        request.update(scope_entity_id=str(people.colleague_a.id))
        erase(self)

    monkeypatch.setattr(ErasureExecution, "erase_dependants", change)
    with pytest.raises(PlanChangedError, match="no longer about"):
        execute(runner, request)
    assert request.row()["status"] == "failed"
    assert people.contact_a.row()["email"] == PERSON["email"]


def test_two_runs_at_once_are_one(runner, db, people):
    request = request_for(people.firm_a, people.contact_a, people)
    skipped = []

    def run():
        try:
            execute(runner, request)
        except AlreadyRunningError:
            skipped.append(1)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert request.row()["status"] == "completed"
    assert db.execute("SELECT count(*) FROM firm_audit_events WHERE category = 'PURGE'").fetchone() == (1,)


def test_under_row_level_security_the_same_is_erased(people, db, enable_row_level_security):
    people.firm_b.member(people.portal_account_a, role="staff")
    account = people.portal_account_a.row()
    payload = {"customer": {"email": PERSON["email"]}}
    for firm in (people.firm_a, people.firm_b):
        firm.webhook_event("stripe", event_data=payload)
    before_b = firm_dump(db, people.firm_b.id)
    request = request_for(people.firm_a, people.contact_a, people)
    execute(enable_row_level_security(), request)
    payloads = db.execute("SELECT event_data FROM finance_stripe_webhook_events ORDER BY firm_id").fetchall()
    assert payloads == [({},), (payload,)]
    status = db.execute("SELECT status FROM core_erasure_request WHERE id = %s", (request.id,)).fetchone()
    assert status == ("completed",)
    assert people.contact_a.row()["email"].endswith("@erased.invalid")
    assert people.portal_account_a.row() == account, "its membership is in a firm that the policy hides"
    assert firm_dump(db, people.firm_b.id) == before_b


def test_under_row_level_security_leftovers_and_holds_are_seen_too(
    people, db, s3, clients, letters, enable_row_level_security
):
    request = request_for(people.firm_a, people.client_a, people)
    task = people.firm_a.client("Elm").project().task(f"Call {PERSON['email']}")
    people.firm_b.client("Elm").project().task(f"Call {PERSON['email']}")
    guarded = enable_row_level_security()
    with pytest.raises(ErasureBlockedError, match=r"address or number left in projects_tasks\.title \(1\)"):
        execute(guarded, request, clients)
    db.execute("UPDATE projects_tasks SET title = 'Call' WHERE id = %s", (task,))

    def hold_the_last():
        set_hold(db, letters[1])
        return clients()

    with pytest.raises(ErasureBlockedError, match=r"legal hold \(1\)"):
        execute(guarded, request, hold_the_last)
    assert [len(versions_of(s3, name)) for name in ("one.pdf", "two.pdf")] == [1, 1]
    db.execute("UPDATE documents_documents SET legal_hold = false")
    execute(guarded, request, clients)
    assert [len(versions_of(s3, name)) for name in ("one.pdf", "two.pdf")] == [0, 0]


@pytest.mark.parametrize("status", ["suspended", "canceled"])
def test_people_of_a_firm_that_is_not_served_have_rights_too(runner, people, status):
    people.firm_a.update(status=status)
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    assert request.row()["status"] == "completed"
