"""execute_erasure_request: erase what an approved request names, prove it, and say so on the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.privacy.erasure import journal
from cp_ops.privacy.erasure.certificate import certificate
from cp_ops.privacy.erasure.execution import Execution, RemainsError
from cp_ops.privacy.erasure.journal import BEGUN, Entry
from cp_ops.privacy.erasure.options import ExecuteErasureRequestOptions
from cp_ops.privacy.erasure.plan import approval_text, plan_erasure, require_unblocked
from cp_ops.privacy.erasure.preview import preview
from cp_ops.privacy.erasure.request import Request, find_request, require_approved
from cp_ops.runtime import audit
from cp_ops.runtime.errors import LeaseLostError, PlanChangedError, translate
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cp_ops.privacy.erasure.covered import Covered
    from cp_ops.privacy.erasure.objects import ObjectEraser
    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.field_encryption import FieldEncryption

UPDATES = ("SELECT", "UPDATE")
NEEDS = (
    Table("core_erasure_request", ("id", "firm_id", "status", "scope_type", "scope_entity_id", "execution_result", "audit_events"), UPDATES),
    Table("clients_client", ("id", "firm_id", "retainer_balance", "retainer_hours_balance"), UPDATES),
    Table("clients_contact", ("id", "client_id", "email"), UPDATES),
    Table("clients_engagement", ("id", "client_id", "status", "contract_id"), UPDATES),
    Table("documents_documents", ("id", "firm_id", "legal_hold", "s3_key", "s3_bucket", "s3_fingerprint"), UPDATES),
    Table("documents_versions", ("document_id", "s3_key", "s3_bucket", "s3_fingerprint"), UPDATES),
    Table("finance_invoices", ("client_id", "engagement_id", "status"), UPDATES),
    Table("projects_projects", ("client_id", "contract_id", "status"), UPDATES),
    Table("firm_membership", ("firm_id", "user_id")),
)  # fmt: skip


class ExecuteErasureRequest(Job[ExecuteErasureRequestOptions]):
    """Execute an erasure request; a dry run is the preview.

    :param clients: gives what deletes stored objects, and what reads their encrypted locations; asked only when the
        plan deletes any.
    :param approved_plan: the hash of the plan that a person approved; None when nobody was asked.
    """

    command = "execute_erasure_request"
    statements = "privacy/erasure"
    options = ExecuteErasureRequestOptions
    needs = NEEDS

    def __init__(
        self,
        clients: Callable[[], tuple[ObjectEraser, FieldEncryption]],
        *,
        approved_plan: str | None = None,
    ) -> None:
        self._clients = clients
        self._approved_plan = approved_plan
        self.approval_text = ""
        self.blockers: dict[str, int] = {}

    def scope(self, options: ExecuteErasureRequestOptions) -> str:
        """One run per request; different requests may be executed at the same time."""
        return str(options.request_id)

    def run(self, run: JobRun, options: ExecuteErasureRequestOptions) -> None:
        """Preview, then erase unless it is a dry run."""
        request, tenant = find_request(run, options.request_id)
        with run.read(tenant) as tx:
            entry = tx.one(
                "journal_entry",
                firm_id=request.firm_id,
                request_id=request.id,
                scope_type=request.scope_type,
                entity_id=request.entity_id.lstrip("0"),
            )
        if request.status == "completed":
            run.skip("the request is completed already: nothing to do")
            journal.catch_up(run)
            return
        resumable = entry is not None and entry["state"] == "started"
        require_approved(request, resumable=resumable)
        subject = request.subject()
        with run.temporary_tables(["create_erasure_selection"], "drop_erasure_selection"):
            with run.read(tenant, snapshot=True) as tx:
                covered = preview(run, tx, subject, search=True)
            plan = plan_erasure(covered.found, firm_id=request.firm_id, subject=str(subject))
            reasons = covered.mapped.reasons
            self.approval_text = approval_text(
                covered.found, plan, request_id=request.id, subject=str(subject), reasons=reasons
            )
            self.blockers = {name: rows for name, rows in covered.found.blockers.items() if rows}
            run.note("blockers", ", ".join(f"{name}: {rows}" for name, rows in self.blockers.items()))
            resumed = resumable and self._approved_plan in (
                None,
                f"sha256:{entry['plan_sha256']}" if entry else None,
            )
            run.accept(plan, expected=None if resumed else self._approved_plan)
            if run.dry_run:
                return
            require_unblocked(covered.found.blockers)
            approved = entry["plan_sha256"] if resumed and entry else plan.sha256
            execution = Execution(run, tenant, subject, covered, approved)
            self._execute(run, request, execution, covered, resumed=resumed)

    def _execute(
        self,
        run: JobRun,
        request: Request,
        execution: Execution,
        covered: Covered,
        *,
        resumed: bool,
    ) -> None:
        tenant = run.tenants([request.firm_id])[0]
        erasure_id = execution.begin(request.id, resumed=resumed)
        try:
            objects = execution.delete_objects(self._clients)
            execution.erase_dependants()
            searched = execution.search()
            with run.write(tenant) as tx:
                execution.hold(tx, request.id)
                execution.erase_person(tx)
                result = certificate(run, tx, erasure_id, covered, searched)
                executed_at = self._complete(run, tx, request, erasure_id, result, execution.plan_sha256)
                begun = _begun(request, execution.plan_sha256, executed_at)
                journal.append(run.settings.erasure_journal, [begun])
        except LeaseLostError:
            raise
        except Exception as error:
            if isinstance(error, RemainsError) and error.unreported:
                execution.report(error.unreported)
            self._fail(run, tenant, request, str(translate(error, doing=self.command)))
            raise
        for table, rows in execution.counts.items():
            run.done(table, rows)
        run.note("objects_deleted", objects)
        journal.catch_up(run)

    def _complete(
        self,
        run: JobRun,
        tx: Any,
        request: Request,
        erasure_id: int,
        result: dict[str, Any],
        plan_sha256: str,
    ) -> datetime:
        """Complete the request and the journal's entry; gives when."""
        from psycopg.types.json import Jsonb

        subject = request.subject()
        if not tx.execute(
            "request_completed",
            request_id=request.id,
            firm_id=request.firm_id,
            scope_type=subject.scope_type,
            entity_id=subject.entity_id,
            result=Jsonb(result),
            plan_sha256=plan_sha256,
            run_id=run.run_id,
            now=run.now,
        ):
            raise PlanChangedError(
                f"the request is no longer about {subject}: its person's own rows were kept"
            )
        completed = tx.one("complete_erasure", erasure_id=erasure_id, result=Jsonb(result))
        assert completed is not None
        tx.execute("drop_approved_rows", erasure_id=erasure_id)
        audit.record_run(
            tx,
            command=self.command,
            category=audit.Category.PURGE,
            now=run.now,
            run_id=run.run_id,
            counts={request.firm_id: {"request": request.id, "rows_erased": result["rows_erased"]}},
        )
        executed_at: datetime = completed["completed_at"]
        return executed_at

    def _fail(self, run: JobRun, tenant: Tenant, request: Request, message: str) -> None:
        with run.write(tenant) as tx:
            tx.execute(
                "request_failed", request_id=request.id, firm_id=request.firm_id, error=message, now=run.now
            )


def _begun(request: Request, plan_sha256: str, executed_at: datetime) -> Entry:
    subject = request.subject()
    return Entry(
        request.firm_id, request.id, subject.scope_type, subject.entity_id, plan_sha256, executed_at, BEGUN
    )
