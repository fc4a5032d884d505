"""execute_erasure_request: what the map does not reach is found before and after, and only what is the person's."""

from __future__ import annotations

import pytest

from cp_ops.privacy.erasure.execution import RemainsError
from cp_ops.privacy.erasure.job import ExecuteErasureRequest
from cp_ops.privacy.erasure.plan import ErasureBlockedError
from tests.integration.privacy.erasures import (
    PERSON,
    SECRETS,
    execute,
    firm_dump,
    meanwhile,
    no_objects,
    request_for,
)


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


def test_a_namesake_is_pointed_out_and_stops_nothing(runner, db, people):
    people.firm_a.client("Elm").project().task("Dinner with Quentin Zuckmayer")
    outcome = execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert outcome.numbers["name_mentions"] == 1
    assert db.execute("SELECT kind, severity FROM cp_ops.finding").fetchall() == [
        ("name_is_mentioned", "WARNING")
    ]


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
