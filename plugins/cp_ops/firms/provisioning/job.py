"""provision_firm: bring a new firm into the application, whole or not at all. The same request again repairs it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cp_ops.firms.provisioning.apply import Provisioning
from cp_ops.firms.provisioning.baseline import Baseline, load_baseline
from cp_ops.firms.provisioning.log import LOG_TABLE, ProvisioningLog
from cp_ops.firms.provisioning.options import ProvisionFirmOptions
from cp_ops.firms.provisioning.passwords import hash_password, unusable_password, weaknesses
from cp_ops.firms.provisioning.plan import (
    Existing,
    ExistingAccount,
    ExistingFirm,
    ExistingPipeline,
    Membership,
    plan_provisioning,
)
from cp_ops.firms.provisioning.steps import BaselineSet, Step
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import OptionsError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from cp_ops.runtime.plan import Plan

READS_AND_INSERTS = ("SELECT", "INSERT")
CHANGES = (*READS_AND_INSERTS, "UPDATE")
NEEDS = (
    Table.of("firm_firm", "id name slug status subscription_tier trial_ends_at max_users", *CHANGES),
    Table.of("auth_user", "id username email password is_active", *CHANGES),
    Table.of("firm_membership", "firm_id user_id role is_active", *READS_AND_INSERTS),
    Table.of("projects_templates", "firm_id template_code template_milestones", *READS_AND_INSERTS),
    Table.of("marketing_email_templates", "firm_id name html_content", *READS_AND_INSERTS),
    Table.of("crm_pipelines", "id firm_id name is_default", *READS_AND_INSERTS),
    Table.of("crm_pipeline_stages", "pipeline_id name probability", *READS_AND_INSERTS),
    Table.of(
        "core_retention_policies", "firm_id data_type retention_days", *READS_AND_INSERTS, optional=True
    ),
    LOG_TABLE,
)
PRESENT = {
    BaselineSet.PROJECT_TEMPLATES: "present_project_templates",
    BaselineSet.EMAIL_TEMPLATES: "present_email_templates",
    BaselineSet.RETENTION_POLICIES: "present_retention_policies",
}
"""The statement that gives the keys which a firm has of a set."""
OPTIONAL = {BaselineSet.RETENTION_POLICIES: "core_retention_policies"}
"""The sets whose table a deployment may lack."""


class ProvisionFirm(Job[ProvisionFirmOptions]):
    """Provision a firm.

    :param password_of: gives the password that a reference names; called in this process only, its answer is hashed
        and forgotten.
    """

    command = "provision_firm"
    statements = "firms/provisioning"
    options = ProvisionFirmOptions
    needs = NEEDS

    def __init__(self, password_of: Callable[[str], str], baseline: Baseline | None = None) -> None:
        self._password_of = password_of
        self._baseline = baseline or load_baseline()

    def scope(self, options: ProvisionFirmOptions) -> str:
        """One run per slug; different firms may be provisioned at the same time."""
        return options.slug

    def run(self, run: JobRun, options: ProvisionFirmOptions) -> None:
        """Look, plan, then create everything in one transaction."""
        log = ProvisioningLog(run, options)
        with log.failures():
            log.step("check")
            plan, firm_id, password = self._check(run, options)
            if run.accept(plan):
                log.begin()
                tenant = run.tenants([firm_id])[0] if firm_id is not None else None
                with run.write(tenant) as tx:
                    provisioning = Provisioning(run, tx, options, self._baseline, log)
                    firm_id = provisioning.apply(plan, firm_id, password)
                for action in plan.actions:
                    run.done(action.kind, action.rows)
            elif firm_id is not None:
                run.audit(Category.CONFIG, [firm_id])
        if firm_id is not None:
            run.note("firm_id", firm_id)

    def _check(self, run: JobRun, options: ProvisionFirmOptions) -> tuple[Plan, int | None, str]:
        """Plan, and make the account's password value if one is to be created."""
        existing = _existing(run, options)
        plan = plan_provisioning(options, existing, self._baseline)
        password = ""
        if plan.of_kind(Step.CREATE_ACCOUNT):
            password = self._password(options)
        if plan.of_kind(Step.INVITE):
            run.settings.require("frontend_url", why="the invitation needs a link")
            run.settings.require("default_from_email", why="the invitation needs a sender")
        return plan, existing.firm_id, password

    def _password(self, options: ProvisionFirmOptions) -> str:
        """Give the new account's `auth_user.password`.

        :raises OptionsError: when the application would refuse the password.
        """
        if options.admin_password_ref is None:
            return unusable_password()
        password = self._password_of(options.admin_password_ref)
        about = (options.username, options.admin_first_name, options.admin_last_name, options.admin_email)
        if problems := weaknesses(password, about):
            raise OptionsError(
                "admin_password_ref",
                "the application would refuse the password: it " + ", ".join(problems),
                "Put a better one into the connection",
            )
        return hash_password(password)


def _existing(run: JobRun, options: ProvisionFirmOptions) -> Existing:
    """Look at what is there: at the platform first, then, as the firm sees it, at the firm."""
    missing = frozenset(name for name, table in OPTIONAL.items() if not run.session.has(table))
    with run.read() as tx:
        firm = tx.one("firm_by_slug", ExistingFirm, slug=options.slug)
        named = tx.one("firm_by_name", firm_name=options.name)
        accounts = tuple(tx.rows("accounts_of_address", ExistingAccount, email=options.admin_email))
        invited = None
        if len(accounts) == 1:
            invited = tx.one("open_invitation", user_id=accounts[0].id, now=run.now)
    existing = Existing(
        firm=firm,
        slug_of_name=named["slug"] if named else None,
        accounts=accounts,
        invitation_open=invited is not None,
        missing_tables=missing,
    )
    return existing if firm is None else _with_rows(run, existing, firm.id)


def _with_rows(run: JobRun, existing: Existing, firm_id: int) -> Existing:
    """Add the firm's own rows, in a transaction that row-level security lets see them."""
    with run.read(run.tenants([firm_id])[0]) as tx:

        def keys(name: BaselineSet) -> frozenset[str]:
            if name in existing.missing_tables:
                return frozenset()
            return frozenset(row["key"] for row in tx.rows(PRESENT[name], firm_id=firm_id))

        return replace(
            existing,
            memberships=tuple(tx.rows("membership_of_accounts", Membership, firm_id=firm_id)),
            pipelines=tuple(tx.rows("present_pipelines", ExistingPipeline, firm_id=firm_id)),
            project_templates=keys(BaselineSet.PROJECT_TEMPLATES),
            email_templates=keys(BaselineSet.EMAIL_TEMPLATES),
            retention_policies=keys(BaselineSet.RETENTION_POLICIES),
        )
