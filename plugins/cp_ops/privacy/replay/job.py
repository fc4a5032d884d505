"""replay_erasures: after a backup was restored, erase again what the journal says was erased."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.types.json import Jsonb

from cp_ops.privacy.erasure import journal
from cp_ops.privacy.erasure.certificate import erased_so_far
from cp_ops.privacy.erasure.entity import ENTITY_TABLES, RequestedEntity, ScopeType
from cp_ops.privacy.erasure.execution import ErasureExecution
from cp_ops.privacy.erasure.job import NEEDS
from cp_ops.privacy.erasure.journal import JournalKey, JournalState, newest
from cp_ops.privacy.erasure.plan import plan_erasure, require_unblocked
from cp_ops.privacy.erasure.preview import preview
from cp_ops.privacy.erasure.selection import erasure_selection
from cp_ops.privacy.replay.options import ReplayErasuresOptions
from cp_ops.privacy.replay.plan import (
    ReplayDecision,
    ReplayFinding,
    RestoredEntity,
    decide_replay,
    ends_unknown,
    findings_of,
    is_somebody_else,
    target_of,
)
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import CpOpsError, LeaseLostError, OptionsError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.plan import Action, Plan
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from cp_ops.privacy.erasure.journal import JournalEntry
    from cp_ops.privacy.erasure.preview import ErasurePreview
    from cp_ops.privacy.erasure.search import Searched
    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.findings import Finding
    from cp_ops.runtime.object_store import ObjectDeleter


class ReplayErasures(Job[ReplayErasuresOptions]):
    """Erase again what was executed; what is still erased, or is another row under a reused id, is left alone.

    :param clients: gives what deletes stored objects, and what reads their encrypted locations.
    """

    command = "replay_erasures"
    statements = "privacy/erasure"
    options = ReplayErasuresOptions
    needs = (
        *NEEDS,
        Table.of("core_erasure_request", "requested_by_id approved_by_id created_at"),
        *(Table.of(entity.table, "id created_at") for entity in ENTITY_TABLES.values()),
    )

    def __init__(self, clients: Callable[[], tuple[ObjectDeleter, FieldEncryption]]) -> None:
        self._clients = clients

    def run(self, run: JobRun, options: ReplayErasuresOptions) -> None:
        """Look at every entry, plan, erase again; one entry that fails does not stop the others."""
        entries = self._entries(run, options)
        try:
            journal.catch_up(run)
        except CpOpsError as error:
            # Erasing again does not wait for the file, and the run fails at its end.
            run.fail("journal", error)
        firms = set(run.every_firm())
        decisions = [decide_replay(entry, self._restored(run, entry, firms)) for entry in entries]
        apply = run.accept(Plan.of(decision.item for decision in decisions))
        # Settled also when nothing is erased: these findings are about entries that are left alone.
        if not run.dry_run:
            examined = firms & {entry.firm_id for entry in entries}
            self._settle(run, sorted(examined), findings_of(decisions))
        due = [decision for decision in decisions if isinstance(decision.item, Action)]
        if apply:
            self._erase_all(run, due)
        run.audit(Category.PURGE, sorted({decision.entry.firm_id for decision in due}))

    def _entries(self, run: JobRun, options: ReplayErasuresOptions) -> list[JournalEntry]:
        """Read the journal: from the file if there is one, and what the database has beside.

        :return: what was executed, oldest first. Then what was begun and whose end nobody knows, as the database that
            would know was restored.
        """
        path = options.journal or run.settings.erasure_journal
        lines = journal.read(path) if path else []
        entries = [*journal.executed(run), *lines]
        unknown = sorted({entry.scope_type for entry in entries} - set(ENTITY_TABLES))
        if unknown:
            raise OptionsError("journal", f"names the unknown scopes {', '.join(unknown)}")
        with run.read() as tx:
            under_way = set(tx.rows("begun_erasures", JournalKey))
        # An id may have been erased twice, before and after it was handed out again: the newest entry says until when.
        done, begun = newest(entries, JournalState.DONE), newest(entries, JournalState.BEGUN)
        return [*_in_order(done.values()), *_in_order(ends_unknown(begun, done, under_way))]

    def _restored(self, run: JobRun, entry: JournalEntry, firms: Collection[int]) -> RestoredEntity | None:
        """Look at what the database holds of an entry's entity; None when it does not hold its firm."""
        if entry.firm_id not in firms:
            return None
        tenant = _tenant(run, entry)
        with run.read(tenant) as tx:
            row = tx.one(
                "entity_created",
                scope_type=entry.scope_type,
                entity_id=entry.entity_id,
                firm_id=entry.firm_id,
            )
        # Somebody else's row is not even previewed: it is none of this erasure's business.
        if row is None or is_somebody_else(entry, row["created_at"]):
            return RestoredEntity(row["created_at"] if row else None, left=None, blockers={})
        with erasure_selection(run):
            found = self._preview(run, tenant, entry)
        left = plan_erasure(found.counts, firm_id=entry.firm_id, subject=str(_entity(entry)))
        return RestoredEntity(row["created_at"], left, found.counts.blockers)

    def _preview(self, run: JobRun, tenant: Tenant, entry: JournalEntry) -> ErasurePreview:
        with run.read(tenant, snapshot=True) as tx:
            return preview(run, tx, _entity(entry))

    def _settle(self, run: JobRun, firm_ids: Sequence[int], findings: Sequence[Finding]) -> None:
        """Open the findings, and resolve those that are gone."""
        for tenant in run.tenants(firm_ids):
            with run.write(tenant) as tx, run.findings(tx) as ledger:
                ledger.saw(finding for finding in findings if finding.firm_id in tenant.firm_ids)
                settled = ledger.settle(
                    kinds=list(ReplayFinding), firm_ids=tenant.firm_ids, category=Category.PURGE
                )
            run.count_findings(settled)

    def _erase_all(self, run: JobRun, due: Iterable[ReplayDecision]) -> None:
        for decision in due:
            try:
                self._erase(run, decision)
            except LeaseLostError:
                raise
            except CpOpsError as error:
                run.fail(target_of(decision.entry), error)

    def _erase(self, run: JobRun, decision: ReplayDecision) -> None:
        """Erase again, unless something forbids it by now."""
        entry = decision.entry
        tenant = _tenant(run, entry)

        def complete(tx: Transaction, _searched: Searched) -> None:
            self._complete(run, tx, decision, execution.erasure_id)

        with erasure_selection(run):
            # Looked at anew, as the entries before this one may have erased some of it.
            found = self._preview(run, tenant, entry)
            require_unblocked(found.counts.blockers)
            execution = ErasureExecution(run, tenant, _entity(entry), found.covered, entry.plan_sha256)
            execution.begin_again(entry)
            execution.carry_out(self._clients, complete)
        run.done("erase_again", sum(execution.counts.values()), entry.firm_id)

    def _complete(self, run: JobRun, tx: Transaction, decision: ReplayDecision, erasure_id: int) -> None:
        """Add what was erased again to the journal's entry, and to the request that the backup brought back."""
        entry = decision.entry
        erased = erased_so_far(tx, erasure_id)
        again = {name: erased[name] for name in ("tables", "rows_erased", "objects_deleted")}
        again |= {"run": run.run_id, "at": run.now.isoformat(), "plan": f"sha256:{decision.plan_sha256}"}
        result = Jsonb({"plan": erased["plan"], "replayed": again})
        tx.execute("complete_replay", erasure_id=erasure_id, result=result)
        tx.execute("drop_approved_rows", erasure_id=erasure_id)
        tx.execute(
            "request_replayed",
            **entry.key._asdict(),
            result=result,
            plan_sha256=entry.plan_sha256,
            executed_at=entry.executed_at,
            run_id=run.run_id,
            now=run.now,
        )


def _entity(entry: JournalEntry) -> RequestedEntity:
    return RequestedEntity(entry.firm_id, ScopeType(entry.scope_type), entry.entity_id)


def _tenant(run: JobRun, entry: JournalEntry) -> Tenant:
    return run.tenants([entry.firm_id]).of(entry.firm_id)


def _in_order(entries: Collection[JournalEntry]) -> list[JournalEntry]:
    return sorted(entries, key=lambda entry: (entry.executed_at, entry.key))
