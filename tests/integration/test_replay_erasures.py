"""replay_erasures: a restored backup is erased again, from the journal outside the database."""

# ruff: noqa: F811 - fixtures shared by importing them

from __future__ import annotations

import json
import stat

import pytest

from cp_ops.privacy.erasure_journal import JournalError, append, read
from cp_ops.privacy.erasure_replay import ReplayErasures
from cp_ops.runtime.errors import SettingError
from tests.integration.test_execute_erasure_request import (  # noqa: F401 - fixtures
    PERSON,
    SECRETS,
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
    request.update(status="approved", execution_result={}, audit_events=[], executed_at=None)
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
    known = json.loads(journal.read_text())
    with journal.open("a") as lines:
        lines.write(json.dumps(known | {"request_id": 900, "entity_id": 4711}) + "\n")
        lines.write(json.dumps(known | {"request_id": 901, "firm_id": 99}) + "\n")
    outcome = replay(runner)
    assert outcome.skip_reasons == {
        "it is erased": 1, "it is not in this database": 1, "the firm is not in this database": 1,
    }  # fmt: skip


def test_a_line_that_a_kill_cut_short_is_dropped_and_the_journal_goes_on(journal, runner, people):
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    (entry,) = read(str(journal))
    with journal.open("a") as lines:
        lines.write('{"firm_id": 1, "requ')
    assert read(str(journal)) == [entry]
    append(str(journal), entry)
    assert journal.read_text().count("\n") == 1
    assert read(str(journal)) == [entry]


def test_a_damaged_journal_is_an_error_that_names_the_line(runner, journal):
    journal.write_text('{"firm_id": 1}\n')
    with pytest.raises(JournalError, match="line 1: no entry"):
        replay(runner)


def test_a_journal_that_cannot_be_written_stops_before_the_person_is_erased(runner, people, tmp_path):
    request = request_for(people.firm_a, people.contact_a, people)
    broken = runner.with_settings(erasure_journal=str(tmp_path / "missing" / "journal.jsonl"))
    with pytest.raises(SettingError, match="erasure_journal: cannot be written"):
        execute(broken, request)
    assert people.contact_a.row()["email"] == PERSON["email"]
    assert request.row()["status"] == "failed"
