"""replay_erasures: a restored backup is erased again, from the journal outside the database."""

from __future__ import annotations

import json
import stat

import pytest

from cp_ops.runtime.errors import CpOpsError
from tests.integration.killed import let_leases_expire, run_killed
from tests.integration.privacy.erasures import PERSON, SECRETS, execute, firm_dump, request_for
from tests.integration.privacy.replay.restored import (
    NEW_PERSON,
    document_in,
    lines_of,
    open_findings,
    replay,
    restore,
)


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
