"""execute_erasure_request against a real database and a real S3 server: two firms in every test."""

from __future__ import annotations

import json
import re
import threading

import psycopg
import pytest

from cp_ops.hooks.object_eraser import S3ObjectEraser
from cp_ops.privacy.erasure.execution import ErasureExecution, RemainsError
from cp_ops.privacy.erasure.job import ExecuteErasureRequest
from cp_ops.privacy.erasure.plan import ErasureBlockedError
from cp_ops.runtime.errors import AlreadyRunningError, OptionsError, PlanChangedError, RemoteRefusedError
from cp_ops.runtime.field_encryption import FieldEncryption, LocalKms
from sandbox.world.documents import StoredFile
from sandbox.world.encryption import SANDBOX_DEFAULT_KEY_ID, SANDBOX_MASTER_KEY
from tests.integration.killed import let_leases_expire, run_killed, run_killed_at

PERSON = {"first_name": "Quentin", "last_name": "Zuckmayer", "email": "quentin.zuckmayer@nowhere.example",
          "phone": "+1 555 010 7788", "mobile_phone": "+15550107799", "notes": "Prefers mail to Quentin"}  # fmt: skip
SECRETS = ("quentin", "zuckmayer", "010 7788", "0107799")


def no_objects():
    raise AssertionError("the plan deletes no objects")


@pytest.fixture
def db(app_db):
    with psycopg.connect(app_db.cp_ops_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def people(world):
    """The person in firm A, at two clients and all over its tables; the same person is a contact of firm B, too."""

    class People:
        pass

    people = People()
    for letter in "ab":
        firm = world.firm(f"Firm {letter}")
        staff, boss = firm.user("Sam", "Staff"), firm.user("Bo", "Boss", role="admin")
        client = firm.client(f"Larch {letter}", primary_contact_name="Quentin Zuckmayer",
                             primary_contact_email="Quentin.Zuckmayer@nowhere.example")  # fmt: skip
        contact = client.contact(**PERSON)
        colleague = client.contact("Olga", "Other", email="olga@nowhere.example")
        portal_account = world.user(
            "Quentin", "Zuckmayer", email=PERSON["email"], username=f"quentin-{letter}@x.example"
        )
        portal = client.portal_user(portal_account)
        contact.update(portal_user_id=portal)
        client.ticket(
            "Quentin cannot log in", contact_name="Quentin Zuckmayer", contact_email=PERSON["email"]
        )
        client.ticket("Olga cannot log in", contact_name="Olga Other", contact_email="olga@nowhere.example")
        firm.lead("Larch", contact_name="Quentin Zuckmayer", contact_email=PERSON["email"].upper())
        invoice = client.invoice(total="200.00", paid="200.00", status="paid")
        for name, value in locals().items():
            if name in {
                "firm",
                "staff",
                "boss",
                "client",
                "contact",
                "colleague",
                "portal_account",
                "invoice",
            }:
                setattr(people, f"{name}_{letter}", value)
    return people


def request_for(firm, subject, people, **columns):
    return firm.erasure_request(subject, requested_by=people.staff_a, approved_by=people.boss_a, **columns)


def execute(runner, request, clients=no_objects, approved=None, **options):
    return runner(ExecuteErasureRequest(clients, approved_plan=approved), request_id=request.id, **options)


def firm_dump(db, firm_id):
    """Every row of a firm, as text: tables with firm_id, and what hangs on its clients."""
    tables = [row[0] for row in db.execute(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'firm_id'"
        " AND table_name NOT LIKE 'mv_%' ORDER BY 1")]  # fmt: skip
    dump = {
        table: db.execute(
            f'SELECT t::text FROM "{table}" t WHERE firm_id = %s ORDER BY 1', (firm_id,)
        ).fetchall()
        for table in tables
    }
    for table in ("clients_contact", "clients_portal_user"):
        dump[table] = db.execute(
            f"SELECT t::text FROM {table} t WHERE client_id IN (SELECT id FROM clients_client WHERE firm_id = %s)"
            " ORDER BY 1", (firm_id,)).fetchall()  # fmt: skip
    dump["auth_user"] = db.execute(
        "SELECT t::text FROM auth_user t WHERE id IN (SELECT user_id FROM firm_membership WHERE firm_id = %s UNION"
        " SELECT user_id FROM clients_portal_user WHERE client_id IN (SELECT id FROM clients_client WHERE firm_id = %s))"
        " ORDER BY 1", (firm_id, firm_id)).fetchall()  # fmt: skip
    return dump


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


def test_an_account_is_erased_with_its_people_and_the_ledger_stays(runner, db, people):
    before_b = firm_dump(db, people.firm_b.id)
    ledger = "SELECT total_amount, amount_paid, issue_date, status, invoice_number FROM finance_invoices ORDER BY id"
    invoices = db.execute(ledger).fetchall()
    execute(runner, request_for(people.firm_a, people.client_a, people))
    client = people.client_a.row()
    assert client["company_name"] == f"Erased {client['id']}"
    assert client["primary_contact_email"].endswith("@erased.invalid")
    assert people.colleague_a.row()["first_name"].startswith("Erased")
    assert db.execute(ledger).fetchall() == invoices
    assert firm_dump(db, people.firm_b.id) == before_b


def test_the_same_person_at_another_client_of_the_firm_is_erased_too(runner, people):
    other = people.firm_a.client("Pine").contact(**PERSON)
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert other.row()["email"].endswith("@erased.invalid")


COMPANY = {"street_address": "1 Main St", "city": "Bern", "website": "https://larch.example",
           "autopay_payment_method_id": "pm_1", "notes": "pays late"}  # fmt: skip


def test_a_contact_who_was_the_prospects_does_not_take_the_company_with_it(runner, people):
    prospect = people.firm_a.prospect("Larch a", primary_contact_name="Quentin Zuckmayer",
                                      primary_contact_email=PERSON["email"])  # fmt: skip
    people.client_a.update(source_prospect_id=prospect, **COMPANY)
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    client = people.client_a.row()
    assert {name: client[name] for name in COMPANY} == COMPANY
    assert client["company_name"] == "Larch a"
    assert client["primary_contact_email"].endswith("@erased.invalid")


def test_the_prospect_of_an_erased_account_goes_with_it(runner, db, people):
    lead = people.firm_a.lead("Larch", contact_name="Olga Other", contact_email="olga@nowhere.example")
    prospect = people.firm_a.prospect("Larch a", primary_contact_name="Paula Former",
                                      primary_contact_email="paula@nowhere.example", lead_id=lead)  # fmt: skip
    people.client_a.update(source_prospect_id=prospect, **COMPANY)
    execute(runner, request_for(people.firm_a, people.client_a, people))
    assert people.client_a.row()["notes"] == people.client_a.row()["street_address"] == ""
    rows = db.execute("SELECT primary_contact_email FROM crm_prospects UNION ALL SELECT contact_email FROM crm_leads"
                      " WHERE firm_id = %s", (people.firm_a.id,)).fetchall()  # fmt: skip
    assert len(rows) == 3
    assert all(email.endswith("@erased.invalid") for (email,) in rows)


def test_the_lead_of_somebody_else_that_became_the_persons_prospect_stays(runner, db, people):
    """The colleague asked first: her lead became the prospect whose contact is the person."""
    lead = people.firm_a.lead(
        "Larch", contact_name="Olga Other", contact_email="olga@nowhere.example", notes="warm"
    )
    people.firm_a.prospect("Larch a", primary_contact_name="Quentin Zuckmayer",
                           primary_contact_email=PERSON["email"], lead_id=lead)  # fmt: skip
    leads = "SELECT t::text FROM crm_leads t WHERE id = %s"
    before = (people.colleague_a.row(), db.execute(leads, (lead,)).fetchall())
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert (people.colleague_a.row(), db.execute(leads, (lead,)).fetchall()) == before


def test_the_prospect_of_somebody_else_that_came_of_the_persons_lead_stays(runner, db, people):
    lead = people.firm_a.lead("Larch", contact_name="Quentin Zuckmayer", contact_email=PERSON["email"])
    prospect = people.firm_a.prospect("Larch a", primary_contact_name="Olga Other", notes="warm", city="Bern",
                                      primary_contact_email="olga@nowhere.example", lead_id=lead)  # fmt: skip
    prospects = "SELECT t::text FROM crm_prospects t WHERE id = %s"
    before = db.execute(prospects, (prospect,)).fetchall()
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert db.execute(prospects, (prospect,)).fetchall() == before


def test_an_account_that_is_used_elsewhere_stays(runner, people):
    people.firm_b.member(people.portal_account_a, role="staff")
    before = people.portal_account_a.row()
    outcome = execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert people.portal_account_a.row() == before
    assert outcome.skip_reasons["kept: the account is used elsewhere, too"] == 1


def test_an_engagement_loses_its_text_and_keeps_its_terms(runner, people):
    engagement = people.client_a.engagement(status="completed", notes="Quentin likes it short")
    value = engagement.row()["contracted_value"]
    execute(runner, request_for(people.firm_a, engagement, people))
    assert engagement.row()["notes"] == ""
    assert engagement.row()["contracted_value"] == value
    assert people.contact_a.row()["email"] == PERSON["email"]


class Eraser(S3ObjectEraser):
    def __init__(self, client):
        super().__init__()
        self.__dict__["client"] = client


@pytest.fixture
def clients(s3):
    encryption = FieldEncryption(LocalKms(SANDBOX_MASTER_KEY), SANDBOX_DEFAULT_KEY_ID)
    return lambda: (Eraser(s3.client), encryption)


def versions_of(s3, key):
    page = s3.client.list_object_versions(Bucket=s3.name, Prefix=key)
    return [
        entry for kind in ("Versions", "DeleteMarkers") for entry in page.get(kind, []) if entry["Key"] == key
    ]


@pytest.mark.parametrize("versioned", [True, False])
def test_a_document_loses_its_metadata_and_every_version_of_its_objects(
    runner, s3, clients, people, versioned
):
    if versioned:
        s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        s3.client.put_object(Bucket=s3.name, Key="letters/quentin.pdf", Body=body)
    s3.client.put_object(Bucket=s3.name, Key="letters/quentin.pdf.bak", Body=b"another key")
    if versioned:
        s3.client.delete_object(Bucket=s3.name, Key="letters/quentin.pdf")
    stored = StoredFile(bucket=s3.name, key="letters/quentin.pdf")
    document = people.firm_a.document("quentin.pdf", client=people.client_a, versions=[stored])
    other = people.firm_a.document(client=people.client_a)
    before = other.row()

    outcome = execute(runner, request_for(people.firm_a, document, people), clients)
    assert versions_of(s3, "letters/quentin.pdf") == []
    assert len(versions_of(s3, "letters/quentin.pdf.bak")) == 1
    row = document.row()
    assert row["name"] == f"Erased {row['id']}"
    assert not row["s3_key"].startswith("enc::")
    assert outcome.numbers["objects_deleted"] == (3 if versioned else 1)
    assert other.row() == before


def test_objects_that_s3_keeps_leave_the_document_as_it_is(runner, s3, people):
    class Locked(Eraser):
        def delete_versions(self, bucket, key):
            raise RemoteRefusedError(f"bucket {bucket}: 1 versions were not deleted (AccessDenied)")

    stored = StoredFile(bucket=s3.name, key="letters/quentin.pdf")
    document = people.firm_a.document("quentin.pdf", client=people.client_a, versions=[stored])
    before = document.row()
    request = request_for(people.firm_a, document, people)
    encryption = FieldEncryption(LocalKms(SANDBOX_MASTER_KEY), SANDBOX_DEFAULT_KEY_ID)
    with pytest.raises(RemoteRefusedError):
        execute(runner, request, lambda: (Locked(s3.client), encryption))
    assert document.row() == before
    assert request.row()["status"] == "failed"
    assert "AccessDenied" in request.row()["error_message"]


@pytest.fixture
def letters(s3, people):
    """Two stored documents of the client."""
    documents = []
    for name in ("one.pdf", "two.pdf"):
        s3.client.put_object(Bucket=s3.name, Key=name, Body=b"x")
        stored = StoredFile(bucket=s3.name, key=name)
        documents.append(people.firm_a.document(name, client=people.client_a, versions=[stored]))
    return documents


def test_a_hold_on_a_document_without_a_file_keeps_the_files_of_the_others(
    runner, s3, clients, db, people, letters
):
    bare = people.firm_a.document(client=people.client_a, s3_key="", s3_bucket="")
    request = request_for(people.firm_a, people.client_a, people)

    def hold_it():
        set_hold(db, bare)
        return clients()

    with pytest.raises(ErasureBlockedError, match=r"legal hold \(1\)"):
        execute(runner, request, hold_it)
    assert [len(versions_of(s3, name)) for name in ("one.pdf", "two.pdf")] == [1, 1]


def set_hold(db, document):
    db.execute("UPDATE documents_documents SET legal_hold = true WHERE id = %s", (document.id,))


def test_a_hold_that_is_set_after_the_preview_stops_before_anything_is_deleted(
    runner, s3, clients, db, people, letters
):
    request = request_for(people.firm_a, people.client_a, people)

    def hold_the_last():
        set_hold(db, letters[1])
        return clients()

    with pytest.raises(ErasureBlockedError, match=r"legal hold \(1\)"):
        execute(runner, request, hold_the_last)
    assert [len(versions_of(s3, name)) for name in ("one.pdf", "two.pdf")] == [1, 1]
    assert [document.row()["name"] for document in letters] == ["one.pdf", "two.pdf"]
    assert people.contact_a.row()["email"] == PERSON["email"]
    assert (request.row()["status"], "legal hold" in request.row()["error_message"]) == ("failed", True)


def test_a_hold_that_is_set_between_two_documents_keeps_the_second_ones_objects(
    runner, s3, clients, db, people, letters
):
    class HoldsTheSecond(Eraser):
        def delete_versions(self, bucket, key):
            deleted = super().delete_versions(bucket, key)
            set_hold(db, letters[1])
            return deleted

    request = request_for(people.firm_a, people.client_a, people)
    with pytest.raises(ErasureBlockedError, match=r"legal hold \(1\)"):
        execute(runner, request, lambda: (HoldsTheSecond(s3.client), clients()[1]))
    assert [len(versions_of(s3, name)) for name in ("one.pdf", "two.pdf")] == [0, 1]
    assert letters[1].row()["name"] == "two.pdf"
    assert people.contact_a.row()["email"] == PERSON["email"]


def test_a_hold_cannot_be_set_while_the_documents_objects_are_being_deleted(
    runner, s3, clients, db, people, letters
):
    class TriesToHold(Eraser):
        def delete_versions(self, bucket, key):
            db.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                set_hold(db, letters[("one.pdf", "two.pdf").index(key)])
            return super().delete_versions(bucket, key)

    request = request_for(people.firm_a, people.client_a, people)
    execute(runner, request, lambda: (TriesToHold(s3.client), clients()[1]))
    assert request.row()["status"] == "completed"


@pytest.mark.parametrize("step", ["erase_dependants", "search", "hold"])
def test_a_hold_that_is_set_during_the_execution_keeps_what_is_left(
    runner, clients, db, people, letters, monkeypatch, step
):
    meanwhile(monkeypatch, lambda: set_hold(db, letters[1]), at=step)
    request = request_for(people.firm_a, people.client_a, people)
    with pytest.raises(ErasureBlockedError, match=r"legal hold \(1\)"):
        execute(runner, request, clients)
    assert people.contact_a.row()["email"] == PERSON["email"]
    assert request.row()["status"] == "failed"
    if step == "erase_dependants":
        assert [document.row()["name"] for document in letters] == ["one.pdf", "two.pdf"]


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


def meanwhile(monkeypatch, do, at="erase_dependants"):
    """Let something happen after the preview, once: before the step `at` of the execution."""
    step = getattr(ErasureExecution, at)

    def first(self, *args, **kwargs):
        monkeypatch.setattr(ErasureExecution, at, step)
        do()
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ErasureExecution, at, first)


def test_what_the_map_does_not_reach_is_a_blocker_that_the_preview_names(runner, db, people):
    task = people.firm_a.client("Elm").project().task(f"Call Quentin, {PERSON['email']}")
    request = request_for(people.firm_a, people.contact_a, people)
    before = firm_dump(db, people.firm_a.id)
    job = ExecuteErasureRequest(no_objects)
    runner(job, request_id=request.id, dry_run=True)
    assert "Blockers: address or number left in projects_tasks.title (1)." in job.approval_text
    assert not any(secret in job.approval_text.lower() for secret in SECRETS)
    with pytest.raises(ErasureBlockedError, match=r"address or number left in projects_tasks\.title \(1\)"):
        execute(runner, request)
    assert firm_dump(db, people.firm_a.id) == before

    db.execute("UPDATE projects_tasks SET title = 'Call' WHERE id = %s", (task,))
    execute(runner, request)
    assert request.row()["status"] == "completed"


def test_what_the_application_writes_during_the_erasure_is_found_named_and_keeps_the_request_open(
    runner, db, people, monkeypatch
):
    project = people.firm_a.client("Elm").project()
    request = request_for(people.firm_a, people.contact_a, people)
    meanwhile(monkeypatch, lambda: project.task(f"Call Quentin, {PERSON['email']}"))
    with pytest.raises(RemainsError, match=r"is still in projects_tasks\.title \(1\)"):
        execute(runner, request)
    assert request.row()["status"] == "failed"
    assert people.contact_a.row()["email"] == PERSON["email"], "the person's own rows go last"
    finding = db.execute("SELECT kind, severity, subject FROM cp_ops.finding").fetchall()
    assert finding == [
        ("identifier_remains", "CRITICAL", f"contact:{people.contact_a.id}:projects_tasks.title")
    ]

    with pytest.raises(ErasureBlockedError, match=r"projects_tasks\.title \(1\)"):
        execute(runner, request)
    db.execute("UPDATE projects_tasks SET title = 'Call'")
    execute(runner, request)
    assert request.row()["status"] == "completed"
    assert db.execute("SELECT count(*) FROM cp_ops.finding WHERE resolved_at IS NULL").fetchone() == (0,)


@pytest.mark.parametrize("what", ["email", "phone"])
def test_a_clients_note_that_names_the_person_is_not_certified_as_gone(runner, people, what):
    """The client's row is covered only where it names its first contact: the note is not erased with it."""
    people.client_a.update(notes=f"call {PERSON[what]}")
    request = request_for(people.firm_a, people.contact_a, people)
    with pytest.raises(ErasureBlockedError, match=r"address or number left in clients_client\.notes \(1\)"):
        execute(runner, request)
    assert request.row()["status"] == "approved"
    people.client_a.update(notes="")
    execute(runner, request)
    assert request.row()["execution_result"]["search"]["found"] == 0


@pytest.mark.parametrize(
    ("column", "where"), [("notes", "clients_client"), ("consent_source", "clients_client")]
)
@pytest.mark.parametrize("step", ["erase_dependants", "erase_person"])
def test_a_person_table_that_is_written_meanwhile_is_searched_too(
    runner, db, people, monkeypatch, step, column, where
):
    """Before the last transaction, and again inside it: nothing of the person has gone when it is found."""
    before = people.contact_a.row()
    meanwhile(monkeypatch, lambda: people.client_a.update(**{column: PERSON["email"]}), at=step)
    request = request_for(people.firm_a, people.contact_a, people)
    with pytest.raises(RemainsError, match=rf"is still in {where}\.{column} \(1\)"):
        execute(runner, request)
    assert people.contact_a.row() == before
    assert request.row()["status"] == "failed"
    assert db.execute("SELECT subject FROM cp_ops.finding WHERE resolved_at IS NULL").fetchall() == [
        (f"contact:{people.contact_a.id}:{where}.{column}",)
    ]


def test_a_number_that_a_colleague_has_too_is_the_colleagues(runner, people):
    people.colleague_a.update(phone=PERSON["phone"])
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert people.colleague_a.row()["phone"] == PERSON["phone"]


def test_a_number_in_free_text_is_found(runner, people):
    people.firm_a.client("Elm").project().task("Call back", description=f"on {PERSON['phone']}")
    with pytest.raises(ErasureBlockedError, match=r"projects_tasks\.description \(1\)"):
        execute(runner, request_for(people.firm_a, people.contact_a, people))


def artifact(people, **columns):
    firm = people.firm_a
    return firm.insert("email_ingestion_artifacts", provider="gmail", external_message_id=f"m{firm.world.serial()}",
                       thread_id="t", sent_at=firm.world.now, received_at=firm.world.now, **columns)  # fmt: skip


def test_a_mail_that_the_person_wrote_or_got_is_erased(runner, db, people):
    others = {"from_address": "olga@nowhere.example", "to_addresses": "sam@x.example", "subject": "Hello"}
    artifact(people, from_address=PERSON["email"].title(), to_addresses="sam@x.example", subject="Hello")
    artifact(people, **others | {"to_addresses": f"sam@x.example, Quentin <{PERSON['email']}>"})
    artifact(people, **others | {"cc_addresses": PERSON["email"]})
    artifact(people, **others | {"body_preview": f"{PERSON['email']} wrote:"})
    artifact(people, **others)
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    rows = db.execute("SELECT from_address, to_addresses, cc_addresses, subject, body_preview"
                      " FROM email_ingestion_artifacts ORDER BY id").fetchall()  # fmt: skip
    assert re.fullmatch(r"erased-\d+@erased\.invalid", rows[0][0])
    assert rows == [
        (rows[0][0], "", "", "", ""),
        ("olga@nowhere.example", "", "", "Hello", ""),
        *[("olga@nowhere.example", "sam@x.example", "", "Hello", "")] * 3,
    ]


PAYLOADS = {"stripe": "event_data", "square": "event_data", "sms": "event_data", "docusign": "payload"}


@pytest.mark.parametrize(("provider", "column"), PAYLOADS.items())
def test_what_a_provider_sent_about_the_person_is_erased_and_about_others_stays(
    runner, people, provider, column
):
    theirs = people.firm_a.webhook_event(provider, **{column: {"customer": {"email": PERSON["email"]}}})
    number = people.firm_a.webhook_event(provider, **{column: {"From": "15550107799"}})
    other = people.firm_a.webhook_event(provider, **{column: {"customer": {"email": "olga@nowhere.example"}}})
    of_b = people.firm_b.webhook_event(provider, **{column: {"customer": {"email": PERSON["email"]}}})
    before = [event.row() for event in (theirs, number, other, of_b)]
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    after = [event.row() for event in (theirs, number, other, of_b)]
    erased = [row | {column: {}, "updated_at": None} for row in before[:2]]
    assert [row | {"updated_at": None} for row in after[:2]] == erased
    assert after[2:] == before[2:]
    assert request.row()["status"] == "completed"


def test_events_of_an_erased_accounts_invoices_and_payments_lose_their_payload(runner, people):
    payment = people.client_a.payment("200.00")
    of_invoice = people.firm_a.webhook_event(
        "stripe", invoice_id=people.invoice_a.id, event_data={"name": "Larch"}
    )
    of_payment = people.firm_a.webhook_event("square", payment_id=payment.id, event_data={"name": "Larch"})
    other = people.firm_a.webhook_event("stripe", event_data={"name": "Elm"})
    execute(runner, request_for(people.firm_a, people.client_a, people))
    assert [event.row()["event_data"] for event in (of_invoice, of_payment, other)] == [
        {},
        {},
        {"name": "Elm"},
    ]


def test_a_conversation_with_a_lead_loses_the_leads_number(runner, db, people):
    (lead,) = db.execute("SELECT id FROM crm_leads WHERE firm_id = %s", (people.firm_a.id,)).fetchone()
    conversation = people.firm_a.insert(
        "sms_conversations", phone_number="+15550107799", lead_id=lead, status="active"
    )
    people.firm_a.insert("sms_messages", conversation_id=conversation, lead_id=lead, from_number="+15550107799",
                         to_number="+41440000000", message_body="Hello", direction="inbound", status="received")  # fmt: skip
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    numbers = db.execute(
        "SELECT phone_number FROM sms_conversations UNION ALL SELECT from_number FROM sms_messages"
    )
    assert [number.startswith("erased-") for (number,) in numbers.fetchall()] == [True, True]


def test_what_the_application_logged_about_the_person_names_nobody_any_more(runner, db, people):
    """A login that failed has an address and no account; a row's name in the trail holds its address."""
    insert = ("INSERT INTO firm_audit_events (firm_id, category, action, severity, actor_email, actor_role, target_model,"
              " target_id, target_repr, timestamp, reason, outcome, metadata, user_agent, request_id, review_notes)"
              " VALUES (%s, 'AUTH', %s, 'INFO', %s, '', 'clients.Contact', '1', %s, now(), '', 'success', '{}', '', '', '')")  # fmt: skip
    a = people.firm_a.id
    db.execute(insert, (a, "login_failed", PERSON["email"], ""))
    db.execute(insert, (a, "updated", "sam@x.example", f"Quentin <{PERSON['email']}>"))
    db.execute(insert, (a, "viewed", "sam@x.example", "Olga <olga@nowhere.example>"))
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    rows = db.execute(
        "SELECT action, actor_email, target_repr FROM firm_audit_events WHERE category = 'AUTH' ORDER BY id"
    )
    failed, updated, viewed = rows.fetchall()
    assert re.fullmatch(r"erased-\d+@erased\.invalid", failed[1])
    assert updated == ("updated", "sam@x.example", "")
    assert viewed == ("viewed", "sam@x.example", "Olga <olga@nowhere.example>")


def test_a_message_from_a_number_that_nobody_was_linked_to_is_the_persons(runner, db, people):
    for number in ("+15550107799", "+15550107700"):
        people.firm_a.insert("sms_messages", from_number=number, to_number="+41440000000", message_body="Hello",
                             direction="inbound", status="received")  # fmt: skip
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    first, second = db.execute(
        "SELECT from_number, to_number, message_body FROM sms_messages ORDER BY id"
    ).fetchall()
    assert first[0].startswith("erased-")
    assert first[1:] == second[1:] == ("+41440000000", "Hello")
    assert second[0] == "+15550107700"


def test_a_namesake_is_pointed_out_and_stops_nothing(runner, db, people):
    people.firm_a.client("Elm").project().task("Dinner with Quentin Zuckmayer")
    outcome = execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert outcome.numbers["name_mentions"] == 1
    assert db.execute("SELECT kind, severity FROM cp_ops.finding").fetchall() == [
        ("name_is_mentioned", "WARNING")
    ]


def mail(db, firm_id, key, recipient, text, state):
    db.execute(
        "INSERT INTO cp_ops.mail (firm_id, kind, subject_key, step, recipient, recipient_key, sender, title, body_text,"
        " body_html, state, created_by_run) VALUES (%s, 'x', %s, 'x', %s, encode(sha256(lower(%s)::bytea), 'hex'),"
        " 'ops@x.example', 't', %s, '', %s, 1)",
        (firm_id, key, recipient, recipient, text, state),
    )


def mails(db):
    return db.execute(
        "SELECT subject_key, recipient, body_text, state FROM cp_ops.mail ORDER BY 1"
    ).fetchall()


def test_our_own_outbox_forgets_the_person_too(runner, db, people):
    a, b = people.firm_a.id, people.firm_b.id
    mail(db, a, "1", PERSON["email"], "hello", "sent")
    mail(db, a, "2", PERSON["email"], "hello", "pending")
    mail(db, a, "3", "sam@x.example", f"see {PERSON['email']}", "sent")
    mail(db, a, "4", "sam@x.example", "see others", "sent")
    mail(db, b, "5", PERSON["email"], "hello", "sent")
    planned = execute(runner, request_for(people.firm_a, people.contact_a, people)).planned
    assert mails(db) == [
        ("1", "", "", "sent"),
        ("2", "", "", "failed"),
        ("3", "sam@x.example", "", "sent"),
        ("4", "sam@x.example", "see others", "sent"),
        ("5", PERSON["email"], "hello", "sent"),
    ]
    assert planned >= 3


def test_a_mail_to_somebody_else_is_still_sent_and_still_not_sent_twice(runner, db, people):
    """It may name the person's address, or a number that is the whole company's."""
    people.contact_a.update(phone="0441112233")
    texts = (
        f"Ask {PERSON['email']}",
        "Questions: call Larch at 0441112233",
        "Dear Jan, sign in as jan@nowhere.example",
    )
    for number, text in enumerate(texts):
        mail(db, people.firm_a.id, str(number), "zoe@pine.example", text, "pending")
    mail(db, people.firm_a.id, "9", "zoe@pine.example", f"Ask {PERSON['email']}", "sent")
    keys = db.execute("SELECT recipient_key FROM cp_ops.mail").fetchall()
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert mails(db) == [
        *((str(number), "zoe@pine.example", text, "pending") for number, text in enumerate(texts)),
        ("9", "zoe@pine.example", "", "sent"),
    ]
    assert db.execute("SELECT recipient_key FROM cp_ops.mail").fetchall() == keys


def test_an_address_that_ends_like_the_persons_is_somebody_elses(runner, db, people):
    ann = people.client_a.contact("Ann", "Short", email="an@nowhere.example", phone="", mobile_phone="")
    jan = people.client_a.contact("Jan", "Long", email="jan@nowhere.example", phone="", mobile_phone="")
    people.firm_a.client("Elm").project().task(
        "Mail jan@nowhere.example, an@nowhere.example.com or j+an@nowhere.example"
    )
    mail(db, people.firm_a.id, "1", "jan@nowhere.example", "Dear Jan, sign in as jan@nowhere.example", "sent")
    before = (jan.row(), mails(db))
    request = request_for(people.firm_a, ann, people)
    execute(runner, request)
    assert request.row()["status"] == "completed"
    assert (jan.row(), mails(db)) == before


def test_a_number_within_a_longer_number_is_another_number(runner, people):
    people.contact_a.update(phone="5550107788", mobile_phone="")
    people.firm_a.client("Elm").project().task("Order 15550107788, or 55501077889")
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    assert request.row()["status"] == "completed"


@pytest.mark.parametrize("text", [
    "Mail an@nowhere.example.", "<an@nowhere.example>", "AN@Nowhere.Example", "to:an@nowhere.example,bo@x.example",
    "- Ann\nan@nowhere.example\n- Bo", "\tan@nowhere.example\t", "'an@nowhere.example'", "_an@nowhere.example_",
    "请写信给an@nowhere.example谢谢", "an@nowhere.example",
])  # fmt: skip
def test_an_address_is_found_however_a_text_goes_on_around_it(runner, people, text):
    ann = people.client_a.contact("Ann", "Short", email="an@nowhere.example", phone="", mobile_phone="")
    people.firm_a.client("Elm").project().task("Write", description=text)
    people.firm_a.webhook_event("stripe", event_data={"text": text})
    job = ExecuteErasureRequest(no_objects)
    runner(job, request_id=request_for(people.firm_a, ann, people).id, dry_run=True)
    assert "address or number left in projects_tasks.description (1)" in job.approval_text
    assert "| finance_stripe_webhook_events | event_data | erase | 1 |" in job.approval_text


def test_killed_at_any_write_the_next_run_converges_and_half_a_person_is_never_called_done(
    runner, db, people
):
    """SIGKILL before every exchange of every writing transaction, each time with another person."""
    before_b = firm_dump(db, people.firm_b.id)
    client = people.firm_a.client("Elm")
    killed_with_everything = killed_with_nothing = 0
    certified = set()
    for exchange in range(1, 200):
        person = PERSON | {
            "email": f"quentin.{exchange}@nowhere.example",
            "phone": f"+1 555 010 {exchange + 7000}",
        }
        contact = client.contact(**person)
        ticket = client.ticket("Quentin", contact_name="Quentin Zuckmayer", contact_email=person["email"])
        request = request_for(people.firm_a, contact, people)
        approved = f"sha256:{execute(runner, request, dry_run=True).plan_sha256}"
        killed = run_killed(
            lambda request=request, approved=approved: execute(runner, request, approved=approved),
            before=exchange,
            writing=True,
        )
        if request.row()["status"] == "completed":
            killed_with_nothing += 1
            assert "quentin" not in str((contact.row(), ticket.row())).lower(), exchange
        else:
            killed_with_everything += 1
            assert contact.row()["email"] == person["email"], exchange
        if killed:
            let_leases_expire(runner)
            execute(runner, request, approved=approved)
        result = request.row()["execution_result"]
        assert result["plan"] == approved, exchange
        certified.add(
            json.dumps([result[name] for name in ("tables", "rows_erased", "kept")], sort_keys=True)
        )
        if not killed:
            break
        assert request.row()["status"] == "completed", exchange
        assert "quentin" not in str((contact.row(), ticket.row())).lower(), exchange
    else:
        pytest.fail("never got through")
    assert killed_with_everything > 15
    assert killed_with_nothing == 1, "only the run that was not killed"
    assert len(certified) == 1, "a resumed erasure certifies what one that was not killed does"
    assert firm_dump(db, people.firm_b.id) == before_b


def test_a_resumed_run_covers_only_what_was_approved(runner, db, people, monkeypatch):
    request = request_for(people.firm_a, people.contact_a, people)
    project = people.firm_a.client("Elm").project()
    approved = f"sha256:{execute(runner, request, dry_run=True).plan_sha256}"
    meanwhile(monkeypatch, lambda: project.task(f"Mail {PERSON['email']}"))
    with pytest.raises(RemainsError):
        execute(runner, request, approved=approved)
    db.execute("DELETE FROM projects_tasks")
    people.client_a.ticket("New", contact_name="Quentin Zuckmayer", contact_email=PERSON["email"])
    with pytest.raises(PlanChangedError, match="rows have come up since the erasure was approved"):
        execute(runner, request, approved=approved)


def leave_a_task_meanwhile(monkeypatch, people):
    """Let somebody write a task that names the person while the erasure is under way; gives the list of its id."""
    project, tasks = people.firm_a.client("Elm").project(), []
    meanwhile(monkeypatch, lambda: tasks.append(project.task(f"Mail {PERSON['email']}")))
    return tasks


def test_a_resumed_erasure_certifies_the_approved_plan_and_all_that_was_erased(
    runner, db, people, monkeypatch
):
    request = request_for(people.firm_a, people.contact_a, people)
    shown = execute(runner, request, dry_run=True)
    approved = f"sha256:{shown.plan_sha256}"
    tasks = leave_a_task_meanwhile(monkeypatch, people)
    with pytest.raises(RemainsError):
        execute(runner, request, approved=approved)
    first = runner.last.plan_sha256
    db.execute("DELETE FROM projects_tasks WHERE id = %s", tasks)
    resumed = execute(runner, request, approved=approved)
    assert resumed.plan_sha256 != first, "the rest of the plan is not the plan"
    row = request.row()
    result = row["execution_result"]
    assert result["plan"] == approved
    assert result["earlier_plans"] == []
    assert [event["plan"] for event in row["audit_events"]] == [shown.plan_sha256]
    assert result["rows_erased"] == shown.planned == sum(result["tables"].values())
    assert result["tables"]["support_tickets"] == result["tables"]["clients_contact"] == 1
    assert result["kept"] == ["clients_contact.country"]
    assert db.execute("SELECT plan_sha256, result, counts FROM cp_ops.erasure").fetchall() == [
        (shown.plan_sha256, result, {})
    ]


def test_an_erasure_that_was_approved_anew_certifies_both_plans_and_all_that_was_erased(
    runner, db, people, monkeypatch
):
    request = request_for(people.firm_a, people.contact_a, people)
    shown = execute(runner, request, dry_run=True)
    tasks = leave_a_task_meanwhile(monkeypatch, people)
    with pytest.raises(RemainsError):
        execute(runner, request, approved=f"sha256:{shown.plan_sha256}")
    db.execute("DELETE FROM projects_tasks WHERE id = %s", tasks)
    rest = execute(runner, request, dry_run=True)
    execute(runner, request, approved=f"sha256:{rest.plan_sha256}")
    result = request.row()["execution_result"]
    assert result["plan"] == f"sha256:{rest.plan_sha256}"
    assert result["earlier_plans"] == [f"sha256:{shown.plan_sha256}"]
    assert result["rows_erased"] == shown.planned


def test_a_resumed_erasure_certifies_the_files_that_were_deleted_before(runner, s3, clients, people):
    keys = ("letters/quentin.pdf", "letters/quentin-2.pdf")
    for key in keys:
        s3.client.put_object(Bucket=s3.name, Key=key, Body=b"x")
    stored = [StoredFile(bucket=s3.name, key=key) for key in keys]
    document = people.firm_a.document("quentin.pdf", client=people.client_a, versions=stored)
    request = request_for(people.firm_a, document, people)
    assert run_killed_at(
        lambda: execute(runner, request, clients),
        "cp_ops.privacy.erasure.execution:ErasureExecution.erase_dependants",
        before=True,
    )
    let_leases_expire(runner)
    assert [versions_of(s3, key) for key in keys] == [[], []]
    outcome = execute(runner, request, clients)
    assert outcome.numbers["objects_deleted"] == 0
    assert request.row()["execution_result"]["objects_deleted"] == 2


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
