"""Applying a plan of provision_firm: every step inside one transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from cp_ops.firms.provisioning.invitation import invitation_mail
from cp_ops.runtime import audit, outbox
from cp_ops.runtime.errors import DatabaseConflictError

if TYPE_CHECKING:
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
        self._user_id = 0
        self._firm_id = 0

    def apply(self, plan: Plan, firm_id: int | None, password: str) -> int:
        """Create what the plan names and give the firm's id."""
        self._firm_id = firm_id or 0
        accounts = self._tx.rows("accounts_of_address", email=self._options.admin_email)
        if accounts and plan.of_kind("create_account"):
            raise DatabaseConflictError(
                "somebody took the administrator's address meanwhile; nothing was kept"
            )
        self._user_id = accounts[0]["id"] if accounts else 0
        for action in plan.actions:
            self._log.step(action.kind)
            if action.kind == "create_account":
                self._create_account(password)
            else:
                getattr(self, f"_{action.kind}")(action)
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

    def _insert(self, statement: str, **values: Any) -> int:
        return self._tx.execute(
            statement, firm_id=self._firm_id, user_id=self._user_id, now=self._run.now, **values
        )

    def _create_firm(self, action: Action) -> None:
        days = self._run.settings.trial_days
        row = self._tx.one(
            "insert_firm",
            **{name: value for name, value in action.data.items() if name != "name"},
            firm_name=self._options.name,
            slug=self._options.slug,
            trial_ends_at=self._run.now + timedelta(days=days) if days else None,
            now=self._run.now,
        )
        if row is None:
            raise DatabaseConflictError("the firm's name or slug was taken meanwhile; nothing was kept")
        self._firm_id = row["id"]
        if self._run.session.guarded:
            self._tx.as_firm(self._firm_id)

    def _create_account(self, password: str) -> None:
        row = self._tx.one(
            "insert_account",
            password=password,
            username=self._options.username,
            email=self._options.admin_email,
            first_name=self._options.admin_first_name,
            last_name=self._options.admin_last_name,
            now=self._run.now,
        )
        if row is None:
            raise DatabaseConflictError("the administrator's user name was taken meanwhile; nothing was kept")
        self._user_id = row["id"]

    def _adopt_account(self, action: Action) -> None:
        if self._tx.one("lock_account", user_id=action.data["user_id"]) is None:
            raise DatabaseConflictError("the account to adopt was deactivated meanwhile; nothing was kept")

    def _create_membership(self, _: Action) -> None:
        self._insert("insert_membership")
        self._tx.execute("set_firm_creator", firm_id=self._firm_id, user_id=self._user_id)

    def _create_project_templates(self, action: Action) -> None:
        keys = _keys(action)
        rows = [entry.columns() for entry in self._baseline.project_templates if entry.template_code in keys]
        self._insert("insert_project_templates", rows=_json(rows))

    def _create_email_templates(self, action: Action) -> None:
        keys = _keys(action)
        rows = [entry.columns() for entry in self._baseline.email_templates if entry.name in keys]
        self._insert("insert_email_templates", rows=_json(rows))

    def _create_retention_policies(self, action: Action) -> None:
        keys = _keys(action)
        rows = [entry.columns() for entry in self._baseline.retention_policies if entry.data_type in keys]
        self._insert("insert_retention_policies", rows=_json(rows))

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
        self._stages(cast("int", action.data["pipeline_id"]))

    def _stages(self, pipeline_id: int) -> None:
        stages = self._baseline.pipeline.stages
        rows = [{**stage.columns(), "display_order": order} for order, stage in enumerate(stages, start=1)]
        self._insert("insert_stages", pipeline_id=pipeline_id, rows=_json(rows))

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


def _keys(action: Action) -> frozenset[str]:
    return frozenset(str(action.data["keys"]).split("\n"))


def _json(rows: list[dict[str, Any]]) -> Any:
    from psycopg.types.json import Jsonb

    return Jsonb(rows)
