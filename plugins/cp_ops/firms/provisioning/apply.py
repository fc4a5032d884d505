"""Apply a plan of provision_firm: every step inside one transaction, so that a firm is there whole or not at all.

What was planned was read before. What somebody else took in between (a name, an address, an account) ends the run here,
with nothing kept, instead of being worked around.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from cp_ops.firms.provisioning.actions import AdoptAccount, CreateFirm, CreateMissing, CreateStages
from cp_ops.firms.provisioning.invitation import invitation_mail
from cp_ops.firms.provisioning.steps import BaselineSet, Step
from cp_ops.runtime import audit, outbox
from cp_ops.runtime.errors import DatabaseConflictError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cp_ops.firms.provisioning.baseline import Baseline
    from cp_ops.firms.provisioning.log import ProvisioningLog
    from cp_ops.firms.provisioning.options import ProvisionFirmOptions
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.plan import Action, Plan


class Provisioning:
    """Applies a plan inside one transaction, step by step."""

    def __init__(
        self,
        run: JobRun,
        tx: Transaction,
        options: ProvisionFirmOptions,
        baseline: Baseline,
        log: ProvisioningLog,
    ) -> None:
        self._run, self._tx, self._options, self._baseline, self._log = run, tx, options, baseline, log
        self._known_user_id: int | None = None
        self._known_firm_id: int | None = None
        self._password = ""

    @property
    def _firm_id(self) -> int:
        assert self._known_firm_id is not None, "the firm is there or was created by the first step"
        return self._known_firm_id

    @property
    def _user_id(self) -> int:
        if self._known_user_id is None:
            raise DatabaseConflictError("the administrator's account was deleted meanwhile; nothing was kept")
        return self._known_user_id

    def apply(self, plan: Plan, firm_id: int | None, password: str) -> int:
        """Create what the plan names and give the firm's id.

        :param firm_id: of the firm that is there already.
        :param password: the `auth_user.password` of the account that is to be created.
        """
        self._known_firm_id, self._password = firm_id, password
        # Asked again inside the transaction: the plan was made before it began.
        accounts = self._tx.rows("accounts_of_address", email=self._options.admin_email)
        if accounts and plan.of_kind(Step.CREATE_ACCOUNT):
            raise DatabaseConflictError(
                "somebody took the administrator's address meanwhile; nothing was kept"
            )
        self._known_user_id = accounts[0]["id"] if accounts else None
        steps = self._steps()
        for action in plan.actions:
            self._log.step(action.kind)
            steps[Step(action.kind)](action)
            self._log.done(action.kind)
        self._log.step("audit")
        counts = {action.kind: action.rows for action in plan.actions}
        audit.record_run(
            self._tx,
            command=self._run.command,
            category=audit.Category.CONFIG,
            now=self._run.now,
            run_id=self._run.run_id,
            counts={self._firm_id: counts},
        )
        self._log.step("log")
        self._log.complete(self._tx, self._firm_id)
        self._log.step("commit")
        return self._firm_id

    def _steps(self) -> dict[Step, Callable[[Action], None]]:
        return {
            Step.CREATE_FIRM: self._create_firm,
            Step.CREATE_ACCOUNT: self._create_account,
            Step.ADOPT_ACCOUNT: self._adopt_account,
            Step.CREATE_MEMBERSHIP: self._create_membership,
            Step.CREATE_PROJECT_TEMPLATES: self._create_project_templates,
            Step.CREATE_EMAIL_TEMPLATES: self._create_email_templates,
            Step.CREATE_RETENTION_POLICIES: self._create_retention_policies,
            Step.CREATE_PIPELINE: self._create_pipeline,
            Step.CREATE_STAGES: self._create_stages,
            Step.INVITE: self._invite,
        }

    def _insert(self, statement: str, **values: Any) -> int:
        return self._tx.execute(
            statement, firm_id=self._firm_id, user_id=self._user_id, now=self._run.now, **values
        )

    def _create_firm(self, action: Action) -> None:
        firm = action.payload(CreateFirm)
        days = self._run.settings.trial_days
        row = self._tx.one(
            "insert_firm",
            firm_name=firm.name,
            slug=self._options.slug,
            timezone=firm.timezone,
            currency=firm.currency,
            tier=firm.tier,
            max_users=firm.max_users,
            max_clients=firm.max_clients,
            max_storage_gb=firm.max_storage_gb,
            trial_ends_at=self._run.now + timedelta(days=days) if days else None,
            now=self._run.now,
        )
        if row is None:
            raise DatabaseConflictError("the firm's name or slug was taken meanwhile; nothing was kept")
        self._known_firm_id = row["id"]
        # From here on every row is the new firm's, and under row-level security nothing else could be written.
        if self._run.session.guarded:
            self._tx.as_firm(self._firm_id)

    def _create_account(self, _: Action) -> None:
        row = self._tx.one(
            "insert_account",
            password=self._password,
            username=self._options.username,
            email=self._options.admin_email,
            first_name=self._options.admin_first_name,
            last_name=self._options.admin_last_name,
            now=self._run.now,
        )
        if row is None:
            raise DatabaseConflictError("the administrator's user name was taken meanwhile; nothing was kept")
        self._known_user_id = row["id"]

    def _adopt_account(self, action: Action) -> None:
        if self._tx.one("lock_account", user_id=action.payload(AdoptAccount).user_id) is None:
            raise DatabaseConflictError("the account to adopt was deactivated meanwhile; nothing was kept")

    def _create_membership(self, _: Action) -> None:
        self._insert("insert_membership")
        self._tx.execute("set_firm_creator", firm_id=self._firm_id, user_id=self._user_id)

    def _create_project_templates(self, action: Action) -> None:
        self._insert("insert_project_templates", rows=self._missing(action, BaselineSet.PROJECT_TEMPLATES))

    def _create_email_templates(self, action: Action) -> None:
        self._insert("insert_email_templates", rows=self._missing(action, BaselineSet.EMAIL_TEMPLATES))

    def _create_retention_policies(self, action: Action) -> None:
        self._insert("insert_retention_policies", rows=self._missing(action, BaselineSet.RETENTION_POLICIES))

    def _missing(self, action: Action, name: BaselineSet) -> Jsonb:
        keys = action.payload(CreateMissing).missing
        return Jsonb([entry.columns() for entry in self._baseline.entries(name) if entry.key in keys])

    def _create_pipeline(self, _: Action) -> None:
        pipeline = self._baseline.pipeline
        row = self._tx.one(
            "insert_pipeline",
            firm_id=self._firm_id,
            user_id=self._user_id,
            now=self._run.now,
            pipeline_name=pipeline.name,
            description=pipeline.description,
        )
        assert row is not None
        self._stages(row["id"])

    def _create_stages(self, action: Action) -> None:
        self._stages(action.payload(CreateStages).pipeline_id)

    def _stages(self, pipeline_id: int) -> None:
        stages = self._baseline.pipeline.stages
        rows = [{**stage.columns(), "display_order": order} for order, stage in enumerate(stages, start=1)]
        self._insert("insert_stages", pipeline_id=pipeline_id, rows=Jsonb(rows))

    def _invite(self, _: Action) -> None:
        hours = self._run.settings.invitation_hours
        row = self._tx.one(
            "insert_invitation",
            firm_id=self._firm_id,
            user_id=self._user_id,
            valid_hours=hours,
            run_id=self._run.run_id,
        )
        assert row is not None
        mail = invitation_mail(
            invitation_id=row["id"],
            firm_id=self._firm_id,
            firm_name=self._options.name,
            address=self._options.admin_email,
            first_name=self._options.admin_first_name,
            hours=hours,
            frontend_url=self._run.settings.frontend_url,
        )
        outbox.enqueue(
            self._tx, [mail], run_id=self._run.run_id, sender=self._run.settings.default_from_email
        )
