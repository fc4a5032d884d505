"""replay_erasures: a restored backup is erased again, from the journal outside the database."""

# ruff: noqa: F811 - fixtures shared by importing them

from __future__ import annotations

import json
import stat

import pytest

from cp_ops.privacy.erasure.journal import JournalError, append, read
from cp_ops.privacy.replay.job import ReplayErasures
from cp_ops.runtime.errors import CpOpsError, SettingError
from sandbox.world.documents import StoredFile
from tests.integration.killed import let_leases_expire, run_killed, run_killed_at
from tests.integration.privacy.erasure.test_execute_erasure_request import (  # noqa: F401 - fixtures
    PERSON,
    SECRETS,
    clients,
    db,
    execute,
    firm_dump,
    no_objects,
    people,
    request_for,
)


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "erasures.jsonl"


@pytest.fixture
def runner(runner, journal):
    return runner.with_settings(erasure_journal=str(journal))


def replay(runner, **options):
    return runner(ReplayErasures(no_objects), **options)


def restore(db, people, request):
    """Put back what a backup from before the erasure holds: the person, the open request, an empty journal."""
    db.execute(
        "UPDATE clients_contact SET first_name = 'Quentin', last_name = 'Zuckmayer', email = %s, phone = %s, notes = 'Quentin'"
        " WHERE id = %s",
        (PERSON["email"], PERSON["phone"], people.contact_a.id),
    )
    db.execute(
        "UPDATE support_tickets SET contact_email = %s, contact_name = 'Quentin Zuckmayer' WHERE id IN"
        " (SELECT min(id) FROM support_tickets WHERE firm_id = %s)",
        (PERSON["email"], people.firm_a.id),
    )
    db.execute(
        "UPDATE core_erasure_request SET status = 'approved', execution_result = '{}', audit_events = '[]',"
        " executed_at = NULL WHERE id = %s",
        (request.id,),
    )
    db.execute("DELETE FROM cp_ops.erasure")


def test_the_journal_outside_the_database_erases_a_restored_backup(runner, journal, db, people):
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert not any(secret in journal.read_text().lower() for secret in SECRETS)
    before_b = firm_dump(db, people.firm_b.id)
    restore(db, people, request)

    preview = replay(runner, dry_run=True)
    assert people.contact_a.row()["email"] == PERSON["email"]
    outcome = replay(runner)
    assert outcome.plan_sha256 == preview.plan_sha256
    assert outcome.done > 1
    for table, rows in firm_dump(db, people.firm_a.id).items():
        if table != "core_erasure_request":
            assert not any(secret in row.lower() for (row,) in rows for secret in SECRETS), table
    assert request.row()["status"] == "completed"
    assert firm_dump(db, people.firm_b.id) == before_b
    assert db.execute("SELECT state FROM cp_ops.erasure").fetchall() == [("completed",)]


def test_what_is_still_erased_is_left_alone(runner, db, people, written):
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    before = written()
    outcome = replay(runner)
    assert outcome.skip_reasons == {"it is erased": 1}
    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}


def test_an_entry_of_another_database_is_passed_over_with_a_reason(runner, journal, people):
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    known = lines_of(journal)[-1]
    with journal.open("a") as lines:
        lines.write(json.dumps(known | {"request_id": 900, "entity_id": 4711}) + "\n")
        lines.write(json.dumps(known | {"request_id": 901, "firm_id": 99}) + "\n")
    outcome = replay(runner)
    assert outcome.skip_reasons == {
        "it is erased": 1, "it is not in this database": 1, "the firm is not in this database": 1,
    }  # fmt: skip


def test_a_line_that_a_kill_cut_short_is_dropped_and_the_journal_goes_on(journal, runner, people):
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    known = read(str(journal))
    with journal.open("a") as lines:
        lines.write('{"firm_id": 1, "requ')
    assert read(str(journal)) == known
    append(str(journal), known)
    assert journal.read_text().count("\n") == len(known) == 2
    assert read(str(journal)) == known


@pytest.mark.parametrize(
    "change",
    [
        {"firm_id": None},
        {"entity_id": "1"},
        {"state": "undone"},
        {"executed_at": "yesterday"},
        {"executed_at": "2026-01-01T00:00:00"},
        {"who": "a field of a later version"},
    ],
)
def test_a_damaged_journal_is_an_error_that_names_the_line(runner, journal, change):
    line = {"firm_id": 1, "request_id": 1, "scope_type": "contact", "entity_id": 1, "plan_sha256": "0",
            "executed_at": "2026-01-01T00:00:00+00:00"}  # fmt: skip
    journal.write_text(json.dumps(line) + "\n" + json.dumps(line | change) + "\n")
    with pytest.raises(JournalError, match="line 2: no entry"):
        replay(runner)


def test_a_journal_that_cannot_be_written_stops_before_the_person_is_erased(runner, people, tmp_path):
    request = request_for(people.firm_a, people.contact_a, people)
    broken = runner.with_settings(erasure_journal=str(tmp_path / "missing" / "journal.jsonl"))
    with pytest.raises(SettingError, match="erasure_journal: cannot be written"):
        execute(broken, request)
    assert people.contact_a.row()["email"] == PERSON["email"]
    assert request.row()["status"] == "failed"


def document_in(s3, people):
    stored = StoredFile(bucket=s3.name, key="letter.pdf")
    return people.firm_a.document("letter.pdf", client=people.client_a, versions=[stored])


NEW_PERSON = (
    "UPDATE clients_contact SET first_name = 'Nina', last_name = 'New', email = 'nina@else.example',"
    " created_at = clock_timestamp(), portal_user_id = NULL WHERE id = %s"
)
APPEND = "cp_ops.privacy.erasure.journal:append"


def lines_of(journal):
    return [json.loads(line) for line in journal.read_text().splitlines()]


def open_findings(db):
    return db.execute(
        "SELECT kind, subject, firm_id FROM cp_ops.finding WHERE resolved_at IS NULL ORDER BY 1, 2"
    ).fetchall()


def test_a_new_row_under_an_erased_id_is_somebody_else_and_a_person_is_told(runner, db, people, written):
    """A restored backup hands out ids again."""
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    db.execute("DELETE FROM cp_ops.erasure")
    db.execute(NEW_PERSON, (people.contact_a.id,))
    before = people.contact_a.row()

    preview = replay(runner, dry_run=True)
    assert open_findings(db) == []
    outcome = replay(runner)
    assert people.contact_a.row() == before
    assert outcome.skip_reasons == preview.skip_reasons == {"another row has its id now": 1}
    assert open_findings(db) == [
        ("erased_id_in_use_again", f"contact:{people.contact_a.id}", people.firm_a.id)
    ]
    writes = written()
    replay(runner)
    assert {table for table, rows in written().items() if rows != writes[table]} == {"cp_ops.job_run"}

    db.execute(
        "UPDATE clients_contact SET created_at = now() - interval '1 year' WHERE id = %s", (before["id"],)
    )
    replay(runner)
    assert people.contact_a.row()["email"].endswith("@erased.invalid"), "created before it was erased"
    assert open_findings(db) == []


@pytest.mark.parametrize("scope", ["account", "document", "engagement"])
def test_every_kind_of_entity_that_is_newer_than_its_erasure_is_left_alone(
    runner, db, people, s3, clients, scope
):
    entity, table = {
        "account": lambda: (people.client_a, "clients_client"),
        "document": lambda: (document_in(s3, people), "documents_documents"),
        "engagement": lambda: (people.client_a.engagement(status="completed", notes="Quentin"), "clients_engagement"),
    }[scope]()  # fmt: skip
    execute(runner, request_for(people.firm_a, entity, people), clients)
    db.execute(f"UPDATE {table} SET notes = 'new', created_at = clock_timestamp() WHERE id = %s" if scope != "document"
               else f"UPDATE {table} SET name = 'new', created_at = clock_timestamp() WHERE id = %s", (entity.id,))  # fmt: skip
    before = entity.row()
    assert replay(runner).skip_reasons == {"another row has its id now": 1}
    assert entity.row() == before


@pytest.mark.parametrize("status", ["pending", "evaluating", "rejected", "approved", "executing", "failed"])
def test_a_request_about_another_entity_under_a_reused_id_is_left_as_it_is(runner, db, people, status):
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    restore(db, people, request)
    request.update(status=status, scope_entity_id=str(people.colleague_a.id))
    before = request.row(), people.colleague_a.row()
    replay(runner)
    assert people.contact_a.row()["email"].endswith("@erased.invalid")
    assert (request.row(), people.colleague_a.row()) == before


@pytest.mark.parametrize(
    ("columns", "completed"),
    [
        ({"status": "executing"}, True),
        ({"status": "failed"}, True),
        ({"status": "pending", "approved_by_id": None, "approved_at": None}, False),
        ({"status": "rejected"}, False),
        ({"status": "approved", "approved_by_id": None}, False),
    ],
)
def test_only_a_request_that_was_approved_is_completed_by_the_replay(runner, db, people, columns, completed):
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    restore(db, people, request)
    request.update(**columns)
    replay(runner)
    assert people.contact_a.row()["email"].endswith("@erased.invalid"), "the journal says that it was erased"
    assert request.row()["status"] == ("completed" if completed else columns["status"])


def test_a_newer_request_about_the_same_entity_is_another_request(runner, db, people):
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    restore(db, people, request)
    db.execute("UPDATE core_erasure_request SET created_at = clock_timestamp() WHERE id = %s", (request.id,))
    replay(runner)
    assert request.row()["status"] == "approved"


def test_a_request_that_reuses_a_journaled_id_is_journaled_and_both_are_replayed(runner, journal, db, people):
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    restore(db, people, request)
    replay(runner)
    request.update(status="approved", scope_entity_id=str(people.colleague_a.id), executed_at=None)
    execute(runner, request)
    assert {line["entity_id"] for line in lines_of(journal)} == {people.contact_a.id, people.colleague_a.id}
    assert db.execute("SELECT count(*) FROM cp_ops.erasure WHERE state = 'completed'").fetchone() == (2,)

    restore(db, people, request)
    people.colleague_a.update(first_name="Olga", last_name="Other", email="olga@nowhere.example")
    outcome = replay(runner)
    assert outcome.planned_kinds["erase_again"] >= 2
    for contact in (people.contact_a, people.colleague_a):
        assert contact.row()["email"].endswith("@erased.invalid")


def test_the_same_request_executed_again_after_its_id_was_reused_is_journaled_again(
    runner, journal, db, people
):
    """The same ids, another person: the newer line says until when rows of this id are meant."""
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    db.execute("DELETE FROM cp_ops.erasure")
    db.execute(NEW_PERSON, (people.contact_a.id,))
    request.update(status="approved", execution_result={}, audit_events=[], executed_at=None)
    execute(runner, request)
    assert [line["state"] for line in lines_of(journal)] == ["begun", "done", "begun", "done"]

    db.execute("DELETE FROM cp_ops.erasure")
    people.contact_a.update(first_name="Nina", last_name="New", email="nina@else.example")
    assert replay(runner).done >= 1
    assert people.contact_a.row()["email"].endswith("@erased.invalid")


@pytest.mark.parametrize("then", ["rejected", "still open"])
def test_an_erasure_that_was_killed_before_its_commit_is_not_replayed(runner, journal, db, people, then):
    request = request_for(people.firm_a, people.contact_a, people)
    assert run_killed_at(lambda: execute(runner, request), APPEND)
    let_leases_expire(runner)
    assert [line["state"] for line in lines_of(journal)] == ["begun"]
    if then == "rejected":
        request.update(status="rejected")
    before = firm_dump(db, people.firm_a.id)
    outcome = replay(runner)
    assert firm_dump(db, people.firm_a.id) == before
    assert (outcome.planned, outcome.failed, open_findings(db)) == (0, 0, [])


def test_an_erasure_whose_end_nobody_knows_is_not_replayed_and_a_person_is_told(runner, db, people, written):
    """Killed before its commit or just after it, and then the database was restored."""
    request = request_for(people.firm_a, people.contact_a, people)
    assert run_killed_at(lambda: execute(runner, request), APPEND)
    let_leases_expire(runner)
    restore(db, people, request)
    preview = replay(runner, dry_run=True)
    outcome = replay(runner)
    assert people.contact_a.row()["email"] == PERSON["email"]
    reason = "it was begun, and the journal does not say that it was completed"
    assert outcome.skip_reasons == preview.skip_reasons == {reason: 1}
    assert open_findings(db) == [("erasure_end_unknown", f"contact:{people.contact_a.id}", people.firm_a.id)]
    writes = written()
    replay(runner)
    assert {table for table, rows in written().items() if rows != writes[table]} == {"cp_ops.job_run"}
    execute(runner, request)
    replay(runner)
    assert open_findings(db) == []


@pytest.mark.parametrize("next_run", ["of the request", "of another request", "of the replay"])
def test_killed_between_commit_and_done_line_the_next_run_adds_the_line(
    runner, journal, db, people, next_run
):
    request = request_for(people.firm_a, people.contact_a, people)
    assert run_killed_at(lambda: execute(runner, request), APPEND, call=2, before=True)
    let_leases_expire(runner)
    assert request.row()["status"] == "completed"
    assert [line["state"] for line in lines_of(journal)] == ["begun"]
    for dry_run in (True, False):
        if next_run == "of the request":
            execute(runner, request, dry_run=dry_run)
        elif next_run == "of the replay":
            replay(runner, dry_run=dry_run)
        else:
            execute(runner, request_for(people.firm_a, people.colleague_a, people), dry_run=dry_run)
        done = [line for line in lines_of(journal) if line["state"] == "done"]
        assert (people.contact_a.id in {line["entity_id"] for line in done}) == (not dry_run)
    known = journal.read_text()
    replay(runner)
    assert journal.read_text() == known
    restore(db, people, request)
    replay(runner)
    assert people.contact_a.row()["email"].endswith("@erased.invalid")


def test_lines_without_a_state_are_of_executed_erasures(runner, journal, db, people):
    """As the journal was written before it knew of states."""
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    done = lines_of(journal)[-1]
    del done["state"]
    journal.write_text(json.dumps(done) + "\n")
    restore(db, people, request)
    replay(runner)
    assert people.contact_a.row()["email"].endswith("@erased.invalid")
    assert request.row()["status"] == "completed"
    assert lines_of(journal) == [done]


def test_a_journal_that_cannot_be_written_does_not_keep_the_replay_from_erasing(
    runner, journal, db, people, tmp_path
):
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    restore(db, people, request)
    broken = runner.with_settings(erasure_journal=str(tmp_path / "missing" / "journal.jsonl"))
    with pytest.raises(CpOpsError, match=r"^1 rows failed, \d+ done: journal: .* cannot be written"):
        replay(broken, journal=str(journal))
    assert people.contact_a.row()["email"].endswith("@erased.invalid")


def test_a_blocker_stops_its_entry_and_no_other(runner, db, people, s3, clients, caplog):
    elm = people.firm_a.client("Elm", notes="Prefers mail")
    execute(runner, request_for(people.firm_a, elm, people))
    letter = document_in(s3, people)
    execute(runner, request_for(people.firm_a, letter, people), clients)
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    restore(db, people, request)
    elm.update(company_name="Elm")
    elm.invoice(total="200.00", paid="50.00", status="partial")
    letter.update(name="letter.pdf", legal_hold=True)
    before = elm.row(), letter.row()

    caplog.clear()
    with caplog.at_level("INFO"):
        replay(runner, dry_run=True)
    assert "blocked by open invoices (1)" in caplog.text
    assert "blocked by legal hold (1)" in caplog.text
    with pytest.raises(CpOpsError, match=r"^2 rows failed"):
        replay(runner)
    outcome = runner.last
    assert (elm.row(), letter.row()) == before
    assert people.contact_a.row()["email"].endswith("@erased.invalid")
    failures = {failure.target: failure.reason for failure in outcome.failures}
    assert outcome.failed == 2
    assert "blocked by open invoices (1)" in failures[f"account:{elm.id}"]
    assert "blocked by legal hold (1)" in failures[f"document:{letter.id}"]


def test_the_replay_keeps_the_approved_plan_and_when_it_was_executed(runner, journal, db, people):
    journaled = "SELECT plan_sha256, completed_at FROM cp_ops.erasure"
    request = request_for(people.firm_a, people.contact_a, people)
    approved = execute(runner, request).plan_sha256
    before = db.execute(journaled).fetchall()
    known = journal.read_text()
    restore(db, people, request)
    outcome = replay(runner)
    assert db.execute(journaled).fetchall() == before
    assert before[0][0] == approved
    assert journal.read_text() == known
    result = request.row()["execution_result"]
    assert result["plan"] == f"sha256:{approved}"
    assert result["replayed"]["rows_erased"] == outcome.done_kinds["erase_again"] > 1
    assert [event["event"] for event in request.row()["audit_events"]] == ["erased_again"]


def test_killed_at_any_write_the_next_replay_finishes_and_counts_everything(runner, db, people):
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    counted = set()
    for exchange in range(1, 100, 4):
        restore(db, people, request)
        killed = run_killed(lambda: replay(runner), before=exchange, writing=True)
        let_leases_expire(runner)
        replay(runner)
        assert people.contact_a.row()["email"].endswith("@erased.invalid"), exchange
        assert request.row()["status"] == "completed", exchange
        (entry,) = db.execute(
            "SELECT state, result -> 'replayed' ->> 'tables' FROM cp_ops.erasure"
        ).fetchall()
        counted.add(entry)
        if not killed:
            break
    else:
        pytest.fail("never got through")
    assert exchange > 10
    assert len(counted) == 1


def test_under_row_level_security_the_same_is_replayed(db, people, journal, enable_row_level_security):
    request = request_for(people.firm_a, people.contact_a, people)
    other = request_for(people.firm_a, people.colleague_a, people)
    guarded = enable_row_level_security().with_settings(erasure_journal=str(journal))
    for executed in (request, other):
        execute(guarded, executed)
    restore(db, people, request)
    db.execute(NEW_PERSON, (people.colleague_a.id,))
    before_b = firm_dump(db, people.firm_b.id)
    assert replay(guarded).skip_reasons == {"another row has its id now": 1}
    assert people.contact_a.row()["email"].endswith("@erased.invalid")
    assert people.colleague_a.row()["email"] == "nina@else.example"
    assert [kind for kind, _, _ in open_findings(db)] == ["erased_id_in_use_again"]
    assert firm_dump(db, people.firm_b.id) == before_b
