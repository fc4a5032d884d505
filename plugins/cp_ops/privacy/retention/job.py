"""execute_retention_policies: archive, anonymise or delete what firms no longer want to keep."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cp_ops.privacy.catalogue import read_catalogue
from cp_ops.privacy.retention.coverage import covered_rows
from cp_ops.privacy.retention.covered_tables import COVERED_TABLES
from cp_ops.privacy.retention.execution import PolicyExecution
from cp_ops.privacy.retention.object_deletion import ObjectDeletions
from cp_ops.privacy.retention.options import ExecuteRetentionPoliciesOptions
from cp_ops.privacy.retention.plan import plan_retention
from cp_ops.privacy.retention.policies import SESSIONS, FirmDay, PassedOver, Policy, covered_types, decide
from cp_ops.privacy.webhook_cleanup.providers import PROVIDERS
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import RowFailedError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from cp_ops.privacy.retention.execution import SurveyedRows
    from cp_ops.privacy.retention.policies import Decision
    from cp_ops.runtime.database import Tenants
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.firms import Firm
    from cp_ops.runtime.object_store import ObjectDeleter

    InTime = Callable[[], bool]

NEEDS = (
    Table.of(
        "core_retention_policies",
        "id firm_id data_type retention_days action only_if_inactive is_active",
    ),
    Table.of(
        "core_retention_executions",
        "id firm_id policy_id executed_at records_processed records_skipped execution_result",
        "SELECT",
        "INSERT",
        "UPDATE",
    ),
    Table.of("django_session", "session_key expire_date", "SELECT", "DELETE", optional=True),
    *(
        Table.of(name, "id", "SELECT", "UPDATE", "DELETE", optional=True)
        for name in sorted({covered.table for tables in COVERED_TABLES.values() for covered in tables})
    ),
    *(events.table for events in PROVIDERS.values()),
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
        """Decide, survey, plan; then policy by policy, longest without an execution first."""
        in_time = _time_limit(self._clock, options.max_minutes)
        firms = run.firms(options.firm_id)
        tenants = run.tenants([firm.id for firm in firms])
        passed, covered = _survey(run, _decisions(run, options, firms), tenants)
        plan = plan_retention((survey for policy in covered for _, survey in policy), passed)
        # Also in a dry run: a policy that somebody has to correct is worth knowing before the first real run.
        for item in passed:
            if item.problem:
                run.fail(f"policy:{item.policy.id}", RowFailedError(item.reason))
        run.accept(plan)
        plan.cap("[cp_ops] retention_max_changes", run.settings.retention_max_changes)
        if not run.dry_run:
            _close_dead_executions(run, tenants)
            _carry_out(run, passed, covered, tenants, in_time)
            # Of every firm of the run: a killed run may have left intentions where no policy is due any more.
            self._delete_objects(run, tenants, in_time)
            run.audit(Category.PURGE, [firm.id for firm in firms])

    def _delete_objects(self, run: JobRun, tenants: Tenants, in_time: InTime) -> None:
        """Delete the objects of deleted documents; what is left is named, and deleted by the next run."""
        total = 0
        for firm_id in tenants.firm_ids:
            deleted = self._objects.carry_out(run, tenants.of(firm_id), firm_id, in_time=in_time)
            if deleted:
                total += deleted
                run.count(firm_id, "objects_deleted", deleted)
                run.note("objects_deleted", total)
        with run.read() as tx:
            left = tx.one("count_object_deletions", firm_ids=tenants.firm_ids, command=self.command)
        if left and left["objects"]:
            run.note("objects_left", left["objects"])
        run.remote_call(self._store.calls)


def _time_limit(clock: Callable[[], float], minutes: int | None) -> InTime:
    """Give the question whether there is time for another batch."""
    if minutes is None:
        return lambda: True
    deadline = clock() + 60 * minutes
    return lambda: clock() < deadline


def _decisions(
    run: JobRun, options: ExecuteRetentionPoliciesOptions, firms: Sequence[Firm]
) -> list[Decision]:
    """Read the policies, and decide which apply."""
    types = covered_types(options.data_type)
    # Every firm has a say about sessions, see `decide`.
    heard = run.firms(None) if types is None or SESSIONS in types else firms
    days: dict[int, FirmDay] = {}
    undated: dict[int, str] = {}
    # `JobRun.firm_days` would fail the firm; here its policies fail, each with a log row that says so.
    for firm in heard:
        try:
            days[firm.id] = FirmDay(firm.today(run.now), firm.timezone)
        except RowFailedError as error:
            undated[firm.id] = str(error)
    policies = _policies(run, sorted({*days, *undated}), types)
    return decide(policies, days, undated, {firm.id for firm in firms})


def _policies(run: JobRun, firm_ids: Sequence[int], types: tuple[str, ...] | None) -> list[Policy]:
    found: list[Policy] = []
    for tenant in run.tenants(firm_ids):
        with run.read(tenant) as tx:
            found += tx.rows("retention_policies", Policy, firm_ids=list(tenant.firm_ids))
    return [policy for policy in found if types is None or policy.data_type in types]


def _survey(
    run: JobRun, decisions: Iterable[Decision], tenants: Tenants
) -> tuple[list[PassedOver], list[Sequence[SurveyedRows]]]:
    """Give the policies that do nothing, and for each of the others what it meets in its tables."""
    with run.read() as tx:
        catalogue = read_catalogue(tx)
    passed: list[PassedOver] = []
    covered: list[Sequence[SurveyedRows]] = []
    for decision in decisions:
        if isinstance(decision, PassedOver):
            passed.append(decision)
            continue
        with run.read(tenants.of(decision.policy.firm_id)) as tx:
            rows = covered_rows(run, tx, decision, catalogue)
            if isinstance(rows, PassedOver):
                passed.append(rows)
            else:
                covered.append([(one, one.survey(tx)) for one in rows])
    return passed, covered


def _close_dead_executions(run: JobRun, tenants: Tenants) -> None:
    for tenant in tenants:
        with run.write(tenant) as tx:
            tx.execute("close_dead_executions", firm_ids=list(tenant.firm_ids))


def _carry_out(
    run: JobRun,
    passed: Iterable[PassedOver],
    covered: Iterable[Sequence[SurveyedRows]],
    tenants: Tenants,
    in_time: InTime,
) -> None:
    """Execute every policy, also those that do nothing: each leaves its log row."""
    for item in passed:
        tenant = tenants.of(item.policy.firm_id)
        PolicyExecution(run, tenant, item.policy, in_time).pass_over(item)
    oldest: list[datetime] = []
    for surveyed in covered:
        policy = surveyed[0][0].applied.policy
        execution = PolicyExecution(run, tenants.of(policy.firm_id), policy, in_time)
        execution.carry_out(surveyed)
        if execution.progress.oldest_left is not None:
            oldest.append(execution.progress.oldest_left)
    if oldest:
        run.note("oldest_left", min(oldest).isoformat())
