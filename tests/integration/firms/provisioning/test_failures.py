"""A firm is there whole or not at all: whatever fails, whoever is killed, whoever else asks at the same moment."""

from __future__ import annotations

import threading

import pytest

from cp_ops.firms.provisioning.job import ProvisionFirm
from cp_ops.runtime.errors import AlreadyRunningError, ConnectionMissingError
from tests.integration.firms.provisioning.conftest import (
    ACME,
    EVERYTHING,
    firm_id,
    one,
    provision,
    rows,
    what_is_there,
)
from tests.integration.killed import let_leases_expire, run_killed


def test_a_failure_inside_the_transaction_leaves_nothing_but_the_log_row(runner, db, owner):
    owner.execute("ALTER TABLE crm_pipeline_stages ADD CHECK (name <> 'Negotiation')")
    with pytest.raises(Exception, match="CheckViolation"):
        provision(runner)
    assert what_is_there(db, "acme-consulting") == {}
    assert rows(db, "SELECT 1 FROM auth_user") == []
    assert rows(db, "SELECT 1 FROM cp_ops.invitation UNION ALL SELECT 1 FROM cp_ops.mail") == []
    log = one(
        db, "SELECT status, error_step, steps_completed, firm_id, error_message FROM firm_provisioning_log"
    )
    assert log[:4] == ("failed", "create_pipeline", [], None)
    assert "CheckViolation" in log[4]
    assert runner.last.numbers["failed_step"] == "create_pipeline"


def test_a_reference_to_no_connection_fails_before_anything_is_written(runner, db):
    def missing(_):
        raise ConnectionMissingError(None, "option admin_password_ref names it")

    with pytest.raises(ConnectionMissingError):
        runner(ProvisionFirm(missing), **ACME, admin_password_ref="nothing_there")
    assert what_is_there(db, "acme-consulting") == {}


def test_killed_anywhere_it_leaves_nothing_or_everything_and_the_next_run_completes(runner, db):
    """SIGKILL before every single exchange with the database."""
    everything = nothing = 0
    for exchange in range(1, 200):
        slug = f"firm-{exchange}"
        request = {"slug": slug, "name": f"Firm {exchange}", "admin_email": f"admin{exchange}@acme.example"}
        killed = run_killed(lambda request=request: provision(runner, **request), before=exchange)
        there = what_is_there(db, slug)
        assert there in ({}, EVERYTHING), exchange
        everything += there == EVERYTHING
        nothing += there == {}
        log = rows(
            db, "SELECT status FROM firm_provisioning_log WHERE provisioning_config ->> 'slug' = %s", slug
        )
        assert log in ([], [("in_progress",)]) if there == {} else log == [("completed",)], exchange
        if not killed:
            break
        let_leases_expire(runner)
        provision(runner, **request)
        assert what_is_there(db, slug) == EVERYTHING, exchange
        invitations = "SELECT count(*) FROM cp_ops.invitation WHERE firm_id = %s"
        assert one(db, invitations, firm_id(db, slug)) == (1,), exchange
        states = rows(
            db,
            "SELECT status FROM firm_provisioning_log WHERE provisioning_config ->> 'slug' = %s ORDER BY id",
            slug,
        )
        assert states in ([("completed",)], [("rolled_back",), ("completed",)]), exchange
    else:
        pytest.fail("the job never got through")
    assert nothing > 20
    assert everything == 2, "killed after the commit, and not at all"


def test_two_runs_of_one_slug_make_one_firm(runner, db):
    errors = []

    def run():
        try:
            provision(runner)
        except AlreadyRunningError as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert what_is_there(db, "acme-consulting") == EVERYTHING
    assert one(db, "SELECT count(*) FROM cp_ops.invitation") == (1,)


def test_two_slugs_with_one_address_at_once_make_one_account(runner, db):
    failures = []

    def run(slug):
        try:
            provision(runner, slug=slug, name=slug)
        except Exception as error:  # noqa: BLE001 - whichever comes second
            failures.append(type(error).__name__)

    threads = [threading.Thread(target=run, args=(f"firm-{number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 1
    assert failures[0] in ("OptionsError", "DatabaseConflictError")
    assert one(db, "SELECT count(*) FROM auth_user") == (1,)
    assert one(db, "SELECT count(*) FROM firm_firm") == (1,)
