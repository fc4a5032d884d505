"""provision_firm: bring a new firm into the application, whole or not at all; the same request again repairs it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cp_ops.firms.provisioning.apply import Provisioning
from cp_ops.firms.provisioning.baseline import Baseline, load_baseline
from cp_ops.firms.provisioning.log import LOG_TABLE, ProvisioningLog
from cp_ops.firms.provisioning.options import ProvisionFirmOptions
from cp_ops.firms.provisioning.passwords import hash_password, unusable_password, weaknesses
from cp_ops.firms.provisioning.plan import (
    Account,
    Existing,
    ExistingFirm,
    ExistingPipeline,
    Membership,
    plan_provisioning,
)
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import OptionsError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.plan import Plan

WRITES = ("SELECT", "INSERT")
NEEDS = (
    Table("firm_firm", ("id", "name", "slug", "status", "subscription_tier", "trial_ends_at", "max_users"),
          ("SELECT", "INSERT", "UPDATE")),
    Table("auth_user", ("id", "username", "email", "password", "is_active"), ("SELECT", "INSERT", "UPDATE")),
    Table("firm_membership", ("firm_id", "user_id", "role", "is_active"), WRITES),
    Table("projects_templates", ("firm_id", "template_code", "template_milestones"), WRITES),
    Table("marketing_email_templates", ("firm_id", "name", "html_content"), WRITES),
    Table("crm_pipelines", ("id", "firm_id", "name", "is_default"), WRITES),
    Table("crm_pipeline_stages", ("pipeline_id", "name", "probability"), WRITES),
    Table("core_retention_policies", ("firm_id", "data_type", "retention_days"), WRITES, optional=True),
    LOG_TABLE,
)  # fmt: skip


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
                with self._writing(run, firm_id) as tx:
                    firm_id = Provisioning(run, tx, options, self._baseline, log).apply(
                        plan, firm_id, password
                    )
                for kind, rows in ((action.kind, action.rows) for action in plan.actions):
                    run.done(kind, rows)
            elif firm_id is not None:
                run.audit(Category.CONFIG, [firm_id])
        if firm_id is not None:
            run.note("firm_id", firm_id)

    def _check(self, run: JobRun, options: ProvisionFirmOptions) -> tuple[Plan, int | None, str]:
        """Plan, and make the account's password value if one is to be created."""
        existing = _existing(run, options)
        plan = plan_provisioning(options, existing, self._baseline)
        password = ""
        if plan.of_kind("create_account"):
            password = self._password(options)
        if plan.of_kind("invite"):
            run.settings.require("frontend_url", why="the invitation needs a link")
            run.settings.require("default_from_email", why="the invitation needs a sender")
        return plan, existing.firm.id if existing.firm else None, password

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

    @contextmanager
    def _writing(self, run: JobRun, firm_id: int | None) -> Iterator[Transaction]:
        tenant: Tenant | None = run.tenants([firm_id])[0] if firm_id is not None else None
        with run.write(tenant) as tx:
            yield tx


def _existing(run: JobRun, options: ProvisionFirmOptions) -> Existing:
    missing = {name for name in ("core_retention_policies",) if not run.session.has(name)}
    with run.read() as tx:
        firm = tx.one("firm_by_slug", ExistingFirm, slug=options.slug)
        named = tx.one("firm_by_name", firm_name=options.name)
        accounts = tuple(tx.rows("accounts_of_address", Account, email=options.admin_email))
        invited = (
            tx.one("open_invitation", user_id=accounts[0].id, now=run.now) if len(accounts) == 1 else None
        )
    facts: dict[str, Any] = {
        "firm": firm,
        "slug_of_name": named["slug"] if named else None,
        "accounts": accounts,
        "invitation_open": invited is not None,
        "missing_tables": frozenset({"retention_policies"} if missing else ()),
    }
    if firm is not None:
        with run.read(run.tenants([firm.id])[0]) as tx:
            facts["memberships"] = tuple(tx.rows("membership_of_accounts", Membership, firm_id=firm.id))
            facts["pipelines"] = tuple(tx.rows("present_pipelines", ExistingPipeline, firm_id=firm.id))
            for kind in ("project_templates", "email_templates", "retention_policies"):
                if f"core_{kind}" not in missing:
                    keys = tx.rows(f"present_{kind}", firm_id=firm.id)
                    facts[kind] = frozenset(row["key"] for row in keys)
    return Existing(**facts)
