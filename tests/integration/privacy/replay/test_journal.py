"""replay_erasures: the journal outside the database, cut short, damaged, not writable, or without an end."""

from __future__ import annotations

import json

import pytest

from cp_ops.privacy.erasure.journal import JournalError, append, read
from cp_ops.runtime.errors import CpOpsError, SettingError
from tests.integration.killed import let_leases_expire, run_killed_at
from tests.integration.privacy.erasures import PERSON, execute, firm_dump, request_for
from tests.integration.privacy.replay.restored import APPEND, lines_of, open_findings, replay, restore


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
