"""The planner of provision_firm."""

from __future__ import annotations

import dataclasses

import pytest

from cp_ops.firms.provisioning.baseline import BaselineError, load_baseline
from cp_ops.firms.provisioning.options import ProvisionFirmOptions
from cp_ops.firms.provisioning.plan import (
    Existing,
    ExistingAccount,
    ExistingFirm,
    ExistingPipeline,
    Membership,
    plan_provisioning,
)
from cp_ops.runtime.errors import OptionsError

BASELINE = load_baseline()
COMPLETE = {
    "project_templates": frozenset(entry.template_code for entry in BASELINE.project_templates),
    "email_templates": frozenset(entry.name for entry in BASELINE.email_templates),
    "retention_policies": frozenset(entry.data_type for entry in BASELINE.retention_policies),
    "pipelines": (ExistingPipeline(1, "Sales", is_default=True, stages=6),),
}
FIRM = ExistingFirm(
    id=7, name="Acme", slug="acme", status="trial", timezone="UTC", currency="USD", tier="professional",
    max_users=5, max_clients=25, max_storage_gb=10, created_by_id=3,
)  # fmt: skip
OWN = ExistingAccount(3, is_active=True, without_password=False)
ADMIN = Membership(3, "admin", is_active=True)


def request(**options):
    return ProvisionFirmOptions.parse(
        {"name": "Acme", "slug": "acme", "admin_email": "a@example.com"} | options
    )


def plan(existing, **options):
    return plan_provisioning(request(**options), existing, BASELINE)


def kinds(plan):
    return [action.kind for action in plan.actions]


def test_the_baseline_is_what_the_specification_asks_for():
    assert len(BASELINE.project_templates) == 3
    assert len(BASELINE.email_templates) == 3
    assert BASELINE.pipeline.stages
    assert BASELINE.retention_policies
    audit = next(entry for entry in BASELINE.retention_policies if entry.data_type == "audit_logs")
    assert audit.retention_days >= 7 * 365
    assert sum(stage.is_closed_won for stage in BASELINE.pipeline.stages) == 1


def test_a_wrong_baseline_file_is_named(tmp_path):
    path = tmp_path / "firm_baseline.yaml"
    path.write_text(
        "project_templates: []\nemail_templates: []\nretention_policies: []\npipeline: {name: x, stages: []}"
    )
    with pytest.raises(BaselineError, match=r"firm_baseline.yaml: pipeline.stages"):
        load_baseline(path)


def test_a_new_firm_takes_every_step_in_order():
    assert kinds(plan(Existing())) == [
        "create_firm",
        "create_account",
        "create_membership",
        "create_project_templates",
        "create_email_templates",
        "create_retention_policies",
        "create_pipeline",
        "invite",
    ]


def test_with_a_password_reference_nobody_is_invited():
    assert "invite" not in kinds(plan(Existing(), admin_password_ref="acme_admin"))


def test_without_reference_and_invitation_the_account_just_has_no_password():
    assert "invite" not in kinds(plan(Existing(), invite=False))


def test_a_complete_firm_needs_nothing():
    found = plan(Existing(firm=FIRM, accounts=(OWN,), memberships=(ADMIN,), **COMPLETE))
    assert found.actions == ()


@pytest.mark.parametrize("kind", ["project_templates", "email_templates", "retention_policies"])
def test_a_repair_adds_only_what_is_missing(kind):
    left = sorted(COMPLETE[kind])[1:]
    existing = Existing(
        firm=FIRM, accounts=(OWN,), memberships=(ADMIN,), **{**COMPLETE, kind: frozenset(left)}
    )
    found = plan(existing)
    assert [(action.kind, action.rows, action.data) for action in found.actions] == [
        (f"create_{kind}", 1, {"keys": min(COMPLETE[kind])})
    ]


def test_a_pipeline_that_the_firm_made_its_own_is_left_alone():
    own = (ExistingPipeline(4, "Our way", is_default=True, stages=2),)
    assert (
        plan(
            Existing(firm=FIRM, accounts=(OWN,), memberships=(ADMIN,), **{**COMPLETE, "pipelines": own})
        ).actions
        == ()
    )


def test_a_pipeline_without_stages_gets_them():
    empty = (ExistingPipeline(4, "Sales", is_default=True, stages=0),)
    found = plan(
        Existing(firm=FIRM, accounts=(OWN,), memberships=(ADMIN,), **{**COMPLETE, "pipelines": empty})
    )
    assert kinds(found) == ["create_stages"]


def test_settings_that_differ_are_reported_and_left():
    found = plan(
        Existing(firm=FIRM, accounts=(OWN,), memberships=(ADMIN,), **COMPLETE),
        currency="EUR",
        timezone="Europe/Paris",
    )
    assert found.actions == ()
    assert {skip.reason for skip in found.skips} >= {
        "timezone differs from the request: left as it is",
        "currency differs from the request: left as it is",
    }


STRANGERS = [
    pytest.param((), (Membership(9, "admin", is_active=True),), id="nobody has the address"),
    pytest.param((ExistingAccount(4, is_active=True, without_password=False),), (ADMIN,), id="not a member"),
    pytest.param((OWN,), (Membership(3, "staff", is_active=True),), id="a member, not an administrator"),
    pytest.param((OWN,), (Membership(3, "admin", is_active=False),), id="no longer a member"),
    *(
        pytest.param(
            (OWN,), (Membership(9, role, is_active=True),), id=f"its creator, but it has its own {role}"
        )
        for role in ("admin", "firm_admin", "owner")
    ),
]


@pytest.mark.parametrize("adopt", [False, True])
@pytest.mark.parametrize(("accounts", "memberships"), STRANGERS)
def test_a_slug_with_a_different_administrator_is_an_error(accounts, memberships, adopt):
    """A trap: it added an administrator to somebody else's firm."""
    existing = Existing(firm=FIRM, accounts=accounts, memberships=memberships, **COMPLETE)
    with pytest.raises(OptionsError, match=r"^slug: a firm with this slug exists \(firm 7\)"):
        plan(existing, adopt_existing_user=adopt)


def test_the_lost_membership_of_the_firms_own_administrator_is_repaired():
    found = plan(Existing(firm=FIRM, accounts=(OWN,), **COMPLETE))
    assert kinds(found) == ["create_membership"]


@pytest.mark.parametrize(
    "other", [Membership(9, "staff", is_active=True), Membership(9, "owner", is_active=False)]
)
def test_a_firm_whose_other_members_cannot_run_it_gets_its_administrator_back(other):
    found = plan(Existing(firm=FIRM, accounts=(OWN,), memberships=(other,), **COMPLETE))
    assert kinds(found) == ["create_membership"]


@pytest.mark.parametrize("status", ["suspended", "canceled"])
def test_a_firm_that_is_not_served_is_not_repaired(status):
    existing = Existing(firm=dataclasses.replace(FIRM, status=status), accounts=(OWN,), memberships=(ADMIN,))
    with pytest.raises(OptionsError, match=f"^slug: .* is {status}"):
        plan(existing)


def test_an_existing_account_is_an_error_unless_it_is_adopted():
    with pytest.raises(
        OptionsError, match=r"^admin_email: an account with this address exists already \(auth_user 3\)"
    ):
        plan(Existing(accounts=(OWN,)))
    found = kinds(plan(Existing(accounts=(OWN,)), adopt_existing_user=True))
    assert "adopt_account" in found
    assert "create_account" not in found
    assert "invite" not in found


def test_an_adopted_account_keeps_its_password():
    with pytest.raises(OptionsError, match=r"^admin_password_ref: the account exists already"):
        plan(Existing(accounts=(OWN,)), adopt_existing_user=True, admin_password_ref="acme_admin")


def test_several_accounts_with_the_address_are_never_guessed_between():
    two = (OWN, ExistingAccount(8, is_active=True, without_password=True))
    with pytest.raises(OptionsError, match=r"^admin_email: 2 accounts have this address"):
        plan(Existing(accounts=two), adopt_existing_user=True)


def test_a_deactivated_account_is_not_adopted():
    with pytest.raises(OptionsError, match="is deactivated"):
        plan(Existing(accounts=(dataclasses.replace(OWN, is_active=False),)), adopt_existing_user=True)


def test_the_name_of_another_firm_is_an_error():
    with pytest.raises(OptionsError, match=r"^name: another firm, acme-inc, has this name"):
        plan(Existing(slug_of_name="acme-inc"))


def test_an_invitation_that_ran_out_is_sent_again_and_an_open_one_is_not():
    account = dataclasses.replace(OWN, without_password=True)
    existing = Existing(firm=FIRM, accounts=(account,), memberships=(ADMIN,), **COMPLETE)
    assert kinds(plan(existing)) == ["invite"]
    assert kinds(plan(dataclasses.replace(existing, invitation_open=True))) == []
    assert kinds(plan(existing, invite=False)) == []


def test_a_deployment_without_retention_policies_skips_them_with_a_reason():
    found = plan(Existing(missing_tables=frozenset({"retention_policies"})))
    assert "create_retention_policies" not in kinds(found)
    assert "this deployment has no table for retention_policies" in {skip.reason for skip in found.skips}


def test_a_plan_names_nobody():
    found = plan(Existing(), admin_first_name="Robin", admin_last_name="Finch")
    shown = found.table() + "".join(action.canonical() for action in found.actions)
    assert "example.com" not in shown
    assert "Robin" not in shown
