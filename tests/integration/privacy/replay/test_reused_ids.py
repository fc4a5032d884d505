"""replay_erasures: a restored database hands out ids again, of entities and of requests."""

from __future__ import annotations

import pytest

from tests.integration.privacy.erasures import execute, request_for
from tests.integration.privacy.replay.restored import (
    NEW_PERSON,
    document_in,
    lines_of,
    open_findings,
    replay,
    restore,
)


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
