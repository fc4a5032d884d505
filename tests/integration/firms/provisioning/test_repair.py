"""The same request again: what is missing is created, nothing else is changed, and nobody gets into another firm."""

from __future__ import annotations

import pytest

from cp_ops.runtime.errors import OptionsError
from tests.integration.firms.provisioning.conftest import (
    EVERYTHING,
    PASSWORD,
    firm_id,
    one,
    provision,
    rows,
    what_is_there,
)


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_the_same_request_again_changes_nothing(runner, written, password):
    provision(runner, password=password)
    before = written()
    outcome = provision(runner, password=password)
    assert (outcome.planned, outcome.done) == (0, 0)
    assert {table for table, count in written().items() if count != before[table]} == {"cp_ops.job_run"}


def test_what_is_missing_is_repaired_and_nothing_else_is_changed(runner, db):
    provision(runner, password=PASSWORD)
    key = firm_id(db)
    password = one(db, "SELECT password FROM auth_user")
    db.execute("DELETE FROM projects_templates WHERE template_code = 'FIXED'")
    db.execute("DELETE FROM core_retention_policies WHERE data_type = 'leads'")
    db.execute("DELETE FROM crm_pipeline_stages")
    db.execute("DELETE FROM firm_membership")
    db.execute("UPDATE projects_templates SET description = 'ours'")

    outcome = provision(runner, password="an entirely different one 7", currency="EUR")
    assert outcome.done_kinds == {
        "create_membership": 1, "create_project_templates": 1, "create_retention_policies": 1, "create_stages": 6,
    }  # fmt: skip
    assert what_is_there(db, "acme-consulting") == EVERYTHING
    assert one(db, "SELECT currency FROM firm_firm WHERE id = %s", key) == ("USD",)
    assert one(db, "SELECT password FROM auth_user") == password
    assert one(db, "SELECT count(*) FROM projects_templates WHERE description = 'ours'") == (2,)
    assert rows(db, "SELECT status FROM firm_provisioning_log ORDER BY id") == [
        ("completed",),
        ("completed",),
    ]


def test_a_slug_of_somebody_elses_firm_is_an_error_and_the_firm_is_untouched(runner, db, world):
    """A trap: it added an administrator to somebody else's firm."""
    firm = world.firm("Acme Consulting", slug="acme-consulting")
    firm.user(role="admin")
    before = rows(db, "SELECT firm_membership::text FROM firm_membership")
    with pytest.raises(OptionsError, match=r"^slug: a firm with this slug exists"):
        provision(runner)
    assert rows(db, "SELECT firm_membership::text FROM firm_membership") == before
    assert one(db, "SELECT count(*) FROM auth_user WHERE email ILIKE 'robin@acme.example'") == (0,)
    log = one(db, "SELECT status, error_step, firm_id, error_message FROM firm_provisioning_log")
    assert log[:3] == ("failed", "check", None)
    assert "acme.example" not in log[3].lower()


@pytest.mark.parametrize("was_a_member", [False, True])
def test_who_once_created_a_firm_gets_no_rights_in_it_while_it_has_its_own_administrator(
    runner, db, world, was_a_member
):
    """`created_by_id` names the platform's operator, or an administrator whose membership was taken away."""
    firm = world.firm("Acme Consulting", slug="acme-consulting")
    creator = (
        world.firm().user(email="robin@acme.example")
        if not was_a_member
        else firm.user(email="robin@acme.example", role="admin")
    )
    firm.update(created_by_id=creator.id)
    firm.user(role="owner")
    db.execute("DELETE FROM firm_membership WHERE firm_id = %s AND user_id = %s", [firm.id, creator.id])
    before = rows(db, "SELECT firm_membership::text FROM firm_membership ORDER BY id")
    with pytest.raises(OptionsError, match=r"^slug: a firm with this slug exists"):
        provision(runner)
    assert rows(db, "SELECT firm_membership::text FROM firm_membership ORDER BY id") == before


def test_the_creator_of_a_firm_whose_last_administrator_is_gone_gets_the_membership_back(runner, db, world):
    firm = world.firm("Acme Consulting", slug="acme-consulting")
    creator = world.firm().user(email="robin@acme.example")
    firm.update(created_by_id=creator.id)
    firm.user(role="staff")
    former = firm.user(role="admin")
    db.execute(
        "UPDATE firm_membership SET is_active = false WHERE firm_id = %s AND user_id = %s",
        [firm.id, former.id],
    )
    assert provision(runner, invite=False).done_kinds["create_membership"] == 1
    assert rows(
        db, "SELECT user_id FROM firm_membership WHERE firm_id = %s AND role = 'admin' AND is_active", firm.id
    ) == [(creator.id,)]


@pytest.mark.parametrize("address", ["robin@acme.example", "ROBIN@ACME.EXAMPLE"])
def test_an_account_with_the_address_in_whatever_case_is_an_error_unless_adopted(runner, db, world, address):
    other = world.firm().user(email=address, username="rob")
    hashed = one(db, "SELECT password FROM auth_user")
    with pytest.raises(OptionsError, match=r"^admin_email: an account with this address exists already"):
        provision(runner)
    assert rows(db, "SELECT 1 FROM firm_firm WHERE slug = 'acme-consulting'") == []

    provision(runner, adopt_existing_user=True, invite=False)
    assert one(db, "SELECT user_id FROM firm_membership WHERE firm_id = %s", firm_id(db)) == (other.id,)
    assert one(db, "SELECT password FROM auth_user") == hashed
