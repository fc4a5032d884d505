"""execute_erasure_request: erase what an approved request names, prove it, and say so on the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from cp_ops.privacy.erasure import journal
from cp_ops.privacy.erasure.certificate import certificate
from cp_ops.privacy.erasure.execution import ErasureExecution, RemainsError
from cp_ops.privacy.erasure.journal import JournalEntry, JournalState
from cp_ops.privacy.erasure.options import ExecuteErasureRequestOptions
from cp_ops.privacy.erasure.plan import approval_text, plan_erasure, require_unblocked
from cp_ops.privacy.erasure.preview import preview
from cp_ops.privacy.erasure.request import RequestStatus, find_request, require_approved
from cp_ops.privacy.erasure.selection import erasure_selection
from cp_ops.runtime import audit
from cp_ops.runtime.errors import LeaseLostError, PlanChangedError, translate
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cp_ops.privacy.erasure.entity import RequestedEntity
    from cp_ops.privacy.erasure.preview import ErasurePreview
    from cp_ops.privacy.erasure.request import ErasureRequest
    from cp_ops.privacy.erasure.search import Searched
    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.object_store import ObjectDeleter
    from cp_ops.runtime.plan import Plan

UPDATES = ("SELECT", "UPDATE")
NEEDS = (
    Table.of(
        "core_erasure_request",
        "id firm_id status scope_type scope_entity_id execution_result audit_events",
        *UPDATES,
    ),
    Table.of("clients_client", "id firm_id retainer_balance retainer_hours_balance", *UPDATES),
    Table.of("clients_contact", "id client_id email", *UPDATES),
    Table.of("clients_engagement", "id client_id status contract_id", *UPDATES),
    Table.of("documents_documents", "id firm_id legal_hold s3_key s3_bucket s3_fingerprint", *UPDATES),
    Table.of("documents_versions", "document_id s3_key s3_bucket s3_fingerprint", *UPDATES),
    Table.of("finance_invoices", "client_id engagement_id status", *UPDATES),
    Table.of("projects_projects", "client_id contract_id status", *UPDATES),
    Table.of("firm_membership", "firm_id user_id"),
)
STARTED = "started"


@dataclass(frozen=True, slots=True)
class JournaledErasure:
    """What the journal in the database says of a request over an entity."""

    id: int
    state: str
    plan_sha256: str


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
        clients: Callable[[], tuple[ObjectDeleter, FieldEncryption]],
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
        begun = self._begun(run, tenant, request)
        if request.status == RequestStatus.COMPLETED:
            run.skip("the request is completed already: nothing to do")
            # The run that completed it may have been killed before it could say so in the journal.
            journal.catch_up(run)
            return
        require_approved(request, resumable=begun is not None)
        entity = request.entity()
        with erasure_selection(run):
            # One snapshot: the rows that are counted, and shown to a person, are the rows that are selected.
            with run.read(tenant, snapshot=True) as tx:
                found = preview(run, tx, entity, search=True)
            plan = self._shown(run, request, entity, found)
            resumed = begun if begun is not None and self._resumes(begun) else None
            run.accept(plan, expected=None if resumed else self._approved_plan)
            if run.dry_run:
                return
            require_unblocked(found.counts.blockers)
            approved = resumed.plan_sha256 if resumed else plan.sha256
            execution = ErasureExecution(run, tenant, entity, found.covered, approved)
            self._erase(run, tenant, request, execution, found, resumed=resumed is not None)

    def _begun(self, run: JobRun, tenant: Tenant, request: ErasureRequest) -> JournaledErasure | None:
        """Find what an earlier run has begun and not completed."""
        with run.read(tenant) as tx:
            entry = tx.one(
                "journal_entry",
                JournaledErasure,
                firm_id=request.firm_id,
                request_id=request.id,
                scope_type=request.scope_type,
                entity_id=request.entity_id.lstrip("0"),
            )
        return entry if entry is not None and entry.state == STARTED else None

    def _resumes(self, begun: JournaledErasure) -> bool:
        """Tell whether this run carries out what is left of a plan that was approved when an earlier run began it.

        What is left has another hash than what was approved. A plan that was approved anew since is a new one.
        """
        return self._approved_plan in (None, f"sha256:{begun.plan_sha256}")

    def _shown(
        self, run: JobRun, request: ErasureRequest, entity: RequestedEntity, found: ErasurePreview
    ) -> Plan:
        """Plan, and lay out for the person who approves it what is planned and what forbids it."""
        plan = plan_erasure(found.counts, firm_id=request.firm_id, subject=str(entity))
        self.approval_text = approval_text(
            found.counts,
            plan,
            request_id=request.id,
            subject=str(entity),
            reasons=found.covered.mapped.reasons,
        )
        self.blockers = {name: rows for name, rows in found.counts.blockers.items() if rows}
        run.note("blockers", ", ".join(f"{name}: {rows}" for name, rows in self.blockers.items()))
        return plan

    def _erase(
        self,
        run: JobRun,
        tenant: Tenant,
        request: ErasureRequest,
        execution: ErasureExecution,
        found: ErasurePreview,
        *,
        resumed: bool,
    ) -> None:
        def complete(tx: Transaction, searched: Searched) -> None:
            result = certificate(run, tx, execution.erasure_id, found.covered.mapped, searched)
            executed_at = self._complete(run, tx, request, execution, result)
            # Before the commit: an erasure that the journal cannot take up would come back with the next backup.
            entry = _journaled(request, execution.plan_sha256, executed_at)
            journal.append(run.settings.erasure_journal, [entry])

        execution.begin(request.id, resumed=resumed)
        try:
            execution.carry_out(self._clients, complete)
        except LeaseLostError:
            # Another run has the request now: what this one thinks of it must not be written there.
            raise
        except Exception as error:
            # What was found inside the last transaction is told only now, as that one was rolled back.
            if isinstance(error, RemainsError) and error.unreported:
                execution.report(error.unreported)
            self._fail(run, tenant, request, str(translate(error, doing=self.command)))
            raise
        for table, rows in execution.counts.items():
            run.done(table, rows)
        run.note("objects_deleted", execution.objects_deleted)
        journal.catch_up(run)

    def _complete(
        self,
        run: JobRun,
        tx: Transaction,
        request: ErasureRequest,
        execution: ErasureExecution,
        result: dict[str, Any],
    ) -> datetime:
        """Complete the request and the journal's entry; gives when."""
        entity = request.entity()
        if not tx.execute(
            "request_completed",
            request_id=request.id,
            firm_id=request.firm_id,
            scope_type=entity.scope_type,
            entity_id=entity.entity_id,
            result=Jsonb(result),
            plan_sha256=execution.plan_sha256,
            run_id=run.run_id,
            now=run.now,
        ):
            raise PlanChangedError(
                f"the request is no longer about {entity}: its person's own rows were kept"
            )
        completed = tx.one("complete_erasure", erasure_id=execution.erasure_id, result=Jsonb(result))
        assert completed is not None
        tx.execute("drop_approved_rows", erasure_id=execution.erasure_id)
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

    def _fail(self, run: JobRun, tenant: Tenant, request: ErasureRequest, message: str) -> None:
        with run.write(tenant) as tx:
            tx.execute(
                "request_failed", request_id=request.id, firm_id=request.firm_id, error=message, now=run.now
            )


def _journaled(request: ErasureRequest, plan_sha256: str, executed_at: datetime) -> JournalEntry:
    entity = request.entity()
    return JournalEntry(
        request.firm_id,
        request.id,
        entity.scope_type,
        entity.entity_id,
        plan_sha256,
        executed_at,
        JournalState.BEGUN,
    )
