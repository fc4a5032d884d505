"""execute_erasure_request: killed, stopped and taken up again."""

from __future__ import annotations

import json

import pytest

from cp_ops.privacy.erasure.execution import RemainsError
from cp_ops.runtime.errors import PlanChangedError
from sandbox.world.documents import StoredFile
from tests.integration.killed import let_leases_expire, run_killed, run_killed_at
from tests.integration.privacy.erasures import (
    PERSON,
    execute,
    firm_dump,
    meanwhile,
    request_for,
    versions_of,
)


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
