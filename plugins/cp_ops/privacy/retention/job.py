"""execute_retention_policies: archive, anonymise or delete what firms no longer want to keep."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from cp_ops.privacy.catalogue import read_catalogue
from cp_ops.privacy.retention.execution import Execution
from cp_ops.privacy.retention.indexes import missing_indexes
from cp_ops.privacy.retention.object_deletion import ObjectDeletions
from cp_ops.privacy.retention.options import ExecuteRetentionPoliciesOptions
from cp_ops.privacy.retention.plan import (
    SESSIONS,
    WEBHOOKS,
    Assignment,
    FirmDay,
    Passed,
    Policy,
    Survey,
    assign,
    covered_types,
    decide_sessions,
    plan_retention,
)
from cp_ops.privacy.retention.rows import PolicyRows
from cp_ops.privacy.retention.special import SessionRows, WebhookRows
from cp_ops.privacy.retention.targets import TARGETS, RetentionAction, unknown_references
from cp_ops.privacy.webhook_cleanup.job import TABLES as WEBHOOK_TABLES
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import RowFailedError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from cp_ops.privacy.catalogue import Catalogue
    from cp_ops.privacy.retention.object_deletion import ObjectDeleter
    from cp_ops.privacy.retention.special import CoveredRows
    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.firms import Firm

    Covered = list[tuple[CoveredRows, Survey]]

log = logging.getLogger(__name__)


NEEDS = (
    Table(
        "core_retention_policies",
        ("id", "firm_id", "data_type", "retention_days", "action", "only_if_inactive", "is_active"),
    ),
    Table(
        "core_retention_executions",
        (
            "id",
            "firm_id",
            "policy_id",
            "executed_at",
            "records_processed",
            "records_skipped",
            "execution_result",
        ),
        ("SELECT", "INSERT", "UPDATE"),
    ),
    Table("django_session", ("session_key", "expire_date"), ("SELECT", "DELETE"), optional=True),
    *(
        Table(name, ("id",), ("SELECT", "UPDATE", "DELETE"), optional=True)
        for name in sorted({target.table for targets in TARGETS.values() for target in targets})
    ),
    *WEBHOOK_TABLES.values(),
)


class ExecuteRetentionPolicies(Job[ExecuteRetentionPoliciesOptions]):
    """Carry out the firms' retention policies.

    :param store: where documents' objects are deleted.
    :param encryption: gives the application's field encryption, once an object is to be deleted.
    :param clock: seconds, for the time limit.
    """

    command = "execute_retention_policies"
    statements = "privacy/retention"
    options = ExecuteRetentionPoliciesOptions
    needs = NEEDS

    def __init__(
        self,
        store: ObjectDeleter,
        encryption: Callable[[], FieldEncryption],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._objects = store, ObjectDeletions(store, encryption)
        self._clock = clock

    def run(self, run: JobRun, options: ExecuteRetentionPoliciesOptions) -> None:
        """Assign, survey, plan; then policy by policy, longest without an execution first."""
        deadline = None if options.max_minutes is None else self._clock() + 60 * options.max_minutes

        def in_time() -> bool:
            return deadline is None or self._clock() < deadline

        firms = run.firms(options.firm_id)
        tenants = {firm_id: t for t in run.tenants([firm.id for firm in firms]) for firm_id in t.firm_ids}
        passed, covered = self._look(run, self._assigned(run, options, firms), tenants)
        plan = plan_retention((survey for pairs in covered for _, survey in pairs), passed)
        for item in passed:
            if item.problem:
                run.fail(f"policy:{item.policy.id}", RowFailedError(item.reason))
        run.accept(plan)
        plan.cap("[cp_ops] retention_max_changes", run.settings.retention_max_changes)
        if not run.dry_run:
            self._apply(run, passed, covered, tenants, in_time)
            run.audit(Category.PURGE, [firm.id for firm in firms])

    def _look(
        self, run: JobRun, assigned: Iterable[Assignment | Passed], tenants: Mapping[int, Tenant]
    ) -> tuple[list[Passed], list[Covered]]:
        """Survey what every policy covers; policies that do nothing, and the others with what they meet."""
        with run.read() as tx:
            catalogue = read_catalogue(tx)
        passed: list[Passed] = []
        covered: list[Covered] = []
        for item in assigned:
            if isinstance(item, Passed):
                passed.append(item)
                continue
            with run.read(tenants[item.policy.firm_id]) as tx:
                rows = self._covered(run, tx, item, catalogue)
                if isinstance(rows, Passed):
                    passed.append(rows)
                else:
                    covered.append([(one, one.survey(tx)) for one in rows])
        return passed, covered

    def _apply(
        self,
        run: JobRun,
        passed: Iterable[Passed],
        covered: Iterable[Covered],
        tenants: Mapping[int, Tenant],
        in_time: Callable[[], bool],
    ) -> None:
        for tenant in dict.fromkeys(tenants.values()):
            with run.write(tenant) as tx:
                tx.execute("close_dead_executions", firm_ids=list(tenant.firm_ids))
        for item in passed:
            execution = Execution(run, tenants[item.policy.firm_id], item.policy, in_time)
            execution.pass_over(item.reason, problem=item.problem)
        oldest: list[datetime] = []
        for pairs in covered:
            policy = pairs[0][0].assignment.policy
            execution = Execution(run, tenants[policy.firm_id], policy, in_time)
            execution.carry_out(pairs)
            if execution.progress.oldest_left is not None:
                oldest.append(execution.progress.oldest_left)
        if oldest:
            run.note("oldest_left", min(oldest).isoformat())
        self._delete_objects(run, tenants, in_time)

    # -- which policies --------------------------------------------------------------------------------------------

    def _assigned(
        self, run: JobRun, options: ExecuteRetentionPoliciesOptions, firms: list[Firm]
    ) -> list[Assignment | Passed]:
        types = covered_types(options.data_type)
        days: dict[int, FirmDay] = {}
        undated: list[Passed] = []
        everybody = run.firms(None) if types is None or SESSIONS in types else firms
        for firm in everybody:
            try:
                days[firm.id] = FirmDay(firm.today(run.now), firm.timezone)
            except RowFailedError as error:
                undated += [
                    Passed(policy, str(error), problem=True)
                    for policy in self._policies(run, [firm.id], types)
                ]
        policies = self._policies(run, sorted(days), types)
        scope = {firm.id for firm in firms}
        own = [policy for policy in policies if policy.firm_id in scope and policy.data_type != SESSIONS]
        dated = (item for item in undated if item.policy.data_type != SESSIONS)
        found = [*assign(own, days), *(item for item in dated if item.policy.firm_id in scope)]
        voices = (policy for policy in policies if policy.data_type == SESSIONS)
        silent = (item for item in undated if item.policy.data_type == SESSIONS)
        winner, others = decide_sessions([*assign(voices, days), *silent])
        found += [item for item in others if item.policy.firm_id in scope]
        if winner is not None and winner.policy.firm_id in scope:
            found.append(winner)
        return found

    def _policies(self, run: JobRun, firm_ids: list[int], types: tuple[str, ...] | None) -> list[Policy]:
        found: list[Policy] = []
        for tenant in run.tenants(firm_ids):
            with run.read(tenant) as tx:
                found += tx.rows("retention_policies", Policy, firm_ids=list(tenant.firm_ids))
        return [policy for policy in found if types is None or policy.data_type in types]

    # -- what they cover -------------------------------------------------------------------------------------------

    def _covered(
        self, run: JobRun, tx: Transaction, assignment: Assignment, catalogue: Catalogue
    ) -> list[CoveredRows] | Passed:
        policy = assignment.policy
        if policy.data_type == SESSIONS:
            return _existing(
                assignment, [SessionRows(assignment)], {"django_session"} & set(catalogue.tables)
            )
        if policy.data_type == WEBHOOKS:
            webhooks = [
                WebhookRows(assignment, provider)
                for provider, table in WEBHOOK_TABLES.items()
                if table.name in catalogue.tables
            ]
            return _existing(assignment, webhooks, {one.table for one in webhooks})
        targets = [target for target in TARGETS[policy.data_type] if target.tables <= set(catalogue.tables)]
        if assignment.action is RetentionAction.DELETE:
            unknown = [str(key) for target in targets for key in unknown_references(target, catalogue)]
            if unknown:
                reason = (
                    f"{policy.data_type}: nothing was deleted, these keys are not known: {', '.join(unknown)}"
                )
                return Passed(policy, reason, problem=True)
        missing = [
            index for target in targets for index in missing_indexes(tx, target, assignment.action, catalogue)
        ]
        if missing:
            reason = f"{policy.data_type}: batches would be slow without an index on {', '.join(missing)}"
            log.warning("policy %s was passed over: %s", policy.id, reason)
            return Passed(policy, reason)
        rows = [PolicyRows(run, assignment, target, catalogue) for target in targets]
        return _existing(assignment, rows, {target.table for target in targets})

    # -- objects ---------------------------------------------------------------------------------------------------

    def _delete_objects(
        self, run: JobRun, tenants: Mapping[int, Tenant], in_time: Callable[[], bool]
    ) -> None:
        for firm_id, tenant in tenants.items():
            deleted = self._objects.carry_out(run, tenant, firm_id, in_time=in_time)
            if deleted:
                run.count(firm_id, "objects_deleted", deleted)
                run.note("objects_deleted", int(run.outcome.numbers.get("objects_deleted", 0)) + deleted)
        with run.read() as tx:
            left = tx.one("count_object_deletions", firm_ids=list(tenants), command=self.command)
        if left and left["objects"]:
            run.note("objects_left", left["objects"])
        run.remote_call(self._store.calls)


def _existing(
    assignment: Assignment, rows: Iterable[CoveredRows], tables: set[str]
) -> list[CoveredRows] | Passed:
    if tables:
        return list(rows)
    return Passed(assignment.policy, f"{assignment.policy.data_type}: this deployment has no table for them")
