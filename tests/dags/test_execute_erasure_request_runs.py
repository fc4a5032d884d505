"""execute_erasure_request through Airflow: what a person sees, and what each answer does."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from sandbox.world.builder import World
from tests.dags.approvals import answering
from tests.dags.conftest import load_dags

EMAIL = "quentin.zuckmayer@nowhere.example"


@pytest.fixture
def request_row(app_db):
    """An approved request over a contact."""
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
        firm = World(connection).firm()
        contact = firm.client().contact("Quentin", "Zuckmayer", email=EMAIL)
        request = firm.erasure_request(contact, requested_by=firm.user(), approved_by=firm.user(role="admin"))
        yield request, contact


def test_the_request_waits_for_a_person_and_is_rejected_by_default(dags):
    approve = dags["execute_erasure_request"].get_task("approve")
    assert approve.defaults == ["Reject"]
    assert approve.response_timeout == timedelta(days=3)
    assert approve.execution_timeout is None
    assert dags["execute_erasure_request"].dagrun_timeout > timedelta(days=3)


def test_a_dry_run_ends_with_the_preview(run_dag, request_row):
    request, contact = request_row
    ran = run_dag("execute_erasure_request", request_id=request.id, dry_run=True)
    assert ran.state == "success"
    assert ran.tasks == {"preview": "success", "approve": "skipped", "execute": "skipped"}
    assert contact.row()["email"] == EMAIL
    assert ran.outcomes["preview"]["planned"] >= 1


def test_without_confirmation_nobody_is_asked_and_a_second_run_says_that_it_is_done(run_dag, request_row):
    request, contact = request_row
    ran = run_dag("execute_erasure_request", request_id=request.id, confirm=False)
    assert ran.tasks == {"preview": "success", "approve": "success", "execute": "success"}
    assert contact.row()["email"].endswith("@erased.invalid")
    assert request.row()["status"] == "completed"
    again = run_dag("execute_erasure_request", request_id=request.id, confirm=False)
    assert again.state == "success"
    assert again.tasks["execute"] == "skipped"
    assert again.outcomes["preview"]["reasons"] == {"the request is completed already: nothing to do": 1}


@pytest.mark.parametrize(("answer", "state"), [("Approve", "success"), ("Reject", "skipped")])
def test_the_answer_decides_and_the_text_shows_no_value(run_dag, request_row, capfd, answer, state):
    request, contact = request_row
    with answering(answer) as answered:
        ran = run_dag("execute_erasure_request", request_id=request.id)
    assert ran.tasks == {"preview": "success", "approve": "success", "execute": state}
    assert (contact.row()["email"] == EMAIL) == (answer == "Reject")
    assert request.row()["status"] == ("completed" if answer == "Approve" else "approved")
    assert answered.subject == f"Erase for good? Request {request.id}"
    assert "| clients_contact | email | pseudonymise | 1 |" in answered.body
    assert f"Plan `{ran.outcomes['preview']['plan']}`" in answered.body
    assert "zuckmayer" not in ("".join(capfd.readouterr()) + answered.body).lower()


def test_data_that_changed_before_the_answer_is_not_erased(run_dag, request_row, app_db):
    """The approval is bound to the plan's hash."""
    request, contact = request_row
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
            " UPDATE public.clients_contact SET phone = '+1 555 010 9999' WHERE phone = ''; RETURN NULL; END $$;"
            " GRANT EXECUTE ON FUNCTION grow() TO PUBLIC"
        )
    with psycopg.connect(app_db.cp_ops_dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TRIGGER grow AFTER UPDATE OF state ON cp_ops.job_run FOR EACH STATEMENT EXECUTE FUNCTION public.grow()"
        )
    with answering("Approve"):
        ran = run_dag("execute_erasure_request", request_id=request.id)
    assert ran.tasks["execute"] == "failed"
    assert "approved was" in ran.outcomes["execute"]["error"]
    assert contact.row()["email"] == EMAIL
    assert request.row()["status"] == "approved"


def test_a_blocked_erasure_is_never_put_before_a_person(run_dag, app_db):
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
        firm = World(connection).firm("Blocked")
        client = firm.client()
        client.project(status="in_progress")
        blocked = firm.erasure_request(client, requested_by=firm.user(), approved_by=firm.user())
        ran = run_dag("execute_erasure_request", request_id=blocked.id)
        assert ran.tasks["preview"] == "failed"
        assert ran.tasks["execute"] in ("upstream_failed", "None")
        dry = run_dag("execute_erasure_request", request_id=blocked.id, dry_run=True)
        assert dry.state == "success"
        assert dry.outcomes["preview"]["numbers"]["blockers"] == "active projects: 1"


def test_the_dag_is_manual():
    dag = load_dags()["execute_erasure_request"]
    assert [str(kind.value) for kind in dag.allowed_run_types] == ["manual"]
