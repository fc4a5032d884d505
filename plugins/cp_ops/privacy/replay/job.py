"""replay_erasures: after a backup was restored, erase again what the journal says was erased."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cp_ops.privacy.erasure import journal
from cp_ops.privacy.erasure.certificate import erased_so_far
from cp_ops.privacy.erasure.execution import Execution
from cp_ops.privacy.erasure.job import NEEDS
from cp_ops.privacy.erasure.journal import BEGUN, DONE, newest
from cp_ops.privacy.erasure.plan import plan_erasure, require_unblocked
from cp_ops.privacy.erasure.preview import preview
from cp_ops.privacy.erasure.subject import SCOPES, Subject
from cp_ops.privacy.replay.options import ReplayErasuresOptions
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import CpOpsError, LeaseLostError, OptionsError
from cp_ops.runtime.findings import Finding, Severity
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.plan import Action, Plan, Skip
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from cp_ops.privacy.erasure.journal import Entry
    from cp_ops.privacy.erasure.objects import ObjectEraser
    from cp_ops.runtime.field_encryption import FieldEncryption

REUSED = "erased_id_in_use_again"
UNKNOWN = "erasure_end_unknown"
ADVICE = {
    REUSED: "A row of this id was erased, and another one has the id now. If it is the erased person again, entered anew, "
    "and must go, make an erasure request",
    UNKNOWN: "An erasure was begun, and nothing says whether it was completed before the backup was restored. If it was "
    "approved, approve and execute a request over this entity again",
}


class ReplayErasures(Job[ReplayErasuresOptions]):
    """Erase again what was executed; what is still erased, or is another row under a reused id, is left alone.

    :param clients: gives what deletes stored objects, and what reads their encrypted locations.
    """

    command = "replay_erasures"
    statements = "privacy/erasure"
    options = ReplayErasuresOptions
    needs = (
        *NEEDS,
        Table("core_erasure_request", ("requested_by_id", "approved_by_id", "created_at")),
        *(Table(table, ("id", "created_at")) for table in SCOPES.values()),
    )

    def __init__(self, clients: Callable[[], tuple[ObjectEraser, FieldEncryption]]) -> None:
        self._clients = clients

    def run(self, run: JobRun, options: ReplayErasuresOptions) -> None:
        """Look at every entry, plan, erase again; one entry that fails does not stop the others."""
        done, begun = self._entries(run, options)
        try:
            journal.catch_up(run)
        except CpOpsError as error:
            run.fail("journal", error)  # erasing again does not wait for the file
        firms = set(run.every_firm())
        due: list[tuple[Entry, str]] = []
        items: list[Action | Skip] = []
        findings: dict[tuple[int, str, str], Finding] = {}
        for entry in (*done, *begun):
            item, plan_sha256, kind = self._judge(run, entry, firms)
            items.append(item)
            if isinstance(item, Action):
                due.append((entry, plan_sha256))
            if kind:
                findings[entry.firm_id, kind, item.target] = _finding(kind, entry)
        apply = run.accept(Plan.of(items))
        if not run.dry_run:
            examined = firms & {entry.firm_id for entry in (*done, *begun)}
            self._settle(run, sorted(examined), list(findings.values()))
        if apply:
            for entry, plan_sha256 in due:
                try:
                    self._erase(run, entry, plan_sha256)
                except LeaseLostError:
                    raise
                except CpOpsError as error:
                    run.fail(_target(entry), error)
        run.audit(Category.PURGE, sorted({entry.firm_id for entry, _ in due}))

    def _entries(self, run: JobRun, options: ReplayErasuresOptions) -> tuple[list[Entry], list[Entry]]:
        """Read the journal: from the file if there is one, and what the database has beside.

        :return: what was executed; and what was begun later than it was executed, if ever, so that its end is not
            known: the database, which would know, was restored.
        """
        path = options.journal or run.settings.erasure_journal
        lines = journal.read(path) if path else []
        entries = [*journal.executed(run), *lines]
        unknown = sorted({entry.scope_type for entry in entries} - set(SCOPES))
        if unknown:
            raise OptionsError("journal", f"names the unknown scopes {', '.join(unknown)}")
        with run.read() as tx:
            under_way = set(tx.rows("begun_erasures", journal.Key))
        done, begun = newest(entries, DONE), newest(entries, BEGUN)
        ends_unknown = [
            entry
            for key, entry in begun.items()
            if key not in under_way and (key not in done or done[key].executed_at < entry.executed_at)
        ]
        return _in_order(done.values()), _in_order(ends_unknown)

    def _judge(
        self, run: JobRun, entry: Entry, firms: Collection[int]
    ) -> tuple[Action | Skip, str, str | None]:
        """Tell what is to be done about an entry, under which plan, and which kind of finding it is."""
        target = _target(entry)
        if entry.firm_id not in firms:
            return Skip(target, "the firm is not in this database", None), "", None
        tenant = run.tenants([entry.firm_id])[0]
        with run.read(tenant) as tx:
            entity = tx.one(
                "entity_created",
                scope_type=entry.scope_type,
                entity_id=entry.entity_id,
                firm_id=entry.firm_id,
            )
        if entity is None:
            return Skip(target, "it is not in this database", entry.firm_id), "", None
        if entity["created_at"] > entry.executed_at:
            kind = REUSED if entry.state == DONE else None
            return Skip(target, "another row has its id now", entry.firm_id), "", kind
        plan, blockers = self._look(run, entry)
        if not plan.actions:
            return Skip(target, "it is erased", entry.firm_id), "", None
        if entry.state == BEGUN:
            reason = "it was begun, and the journal does not say that it was completed"
            return Skip(target, reason, entry.firm_id), "", UNKNOWN
        reason = f"request {entry.request_id} erased it; a restored backup brought it back{blockers}"
        data = {"request": entry.request_id}
        return Action("erase_again", target, reason, entry.firm_id, plan.rows, data), plan.sha256, None

    def _settle(self, run: JobRun, firm_ids: list[int], findings: list[Finding]) -> None:
        """Open the findings, and resolve those that are gone."""
        for tenant in run.tenants(firm_ids):
            with run.write(tenant) as tx, run.findings(tx) as ledger:
                ledger.saw(finding for finding in findings if finding.firm_id in tenant.firm_ids)
                settled = ledger.settle(kinds=list(ADVICE), firm_ids=tenant.firm_ids, category=Category.PURGE)
            run.count_findings(settled)

    def _look(self, run: JobRun, entry: Entry) -> tuple[Plan, str]:
        """Plan what is left to erase; gives with it what forbids it, in words."""
        subject = Subject(entry.firm_id, entry.scope_type, entry.entity_id)
        tenant = run.tenants([entry.firm_id])[0]
        with run.temporary_tables(["create_erasure_selection"], "drop_erasure_selection"):
            with run.read(tenant, snapshot=True) as tx:
                covered = preview(run, tx, subject)
            blockers = ", ".join(f"{name} ({rows})" for name, rows in covered.found.blockers.items() if rows)
            plan = plan_erasure(covered.found, firm_id=entry.firm_id, subject=str(subject))
            return plan, f"; blocked by {blockers}" if blockers else ""

    def _erase(self, run: JobRun, entry: Entry, plan_sha256: str) -> None:
        """Erase again, unless something forbids it by now.

        :param plan_sha256: what is left to erase; the plan that was approved is the entry's.
        """
        from psycopg.types.json import Jsonb

        subject = Subject(entry.firm_id, entry.scope_type, entry.entity_id)
        tenant = run.tenants([entry.firm_id])[0]
        with run.temporary_tables(["create_erasure_selection"], "drop_erasure_selection"):
            with run.read(tenant, snapshot=True) as tx:
                covered = preview(run, tx, subject)
            require_unblocked(covered.found.blockers)
            execution = Execution(run, tenant, subject, covered, entry.plan_sha256)
            erasure_id = execution.replay(entry)
            execution.delete_objects(self._clients)
            execution.erase_dependants()
            execution.search()
            with run.write(tenant) as tx:
                execution.erase_person(tx)
                erased = erased_so_far(tx, erasure_id)
                again = {name: erased[name] for name in ("tables", "rows_erased", "objects_deleted")}
                again |= {"run": run.run_id, "at": run.now.isoformat(), "plan": f"sha256:{plan_sha256}"}
                result = {"plan": erased["plan"], "replayed": again}
                tx.execute("complete_replay", erasure_id=erasure_id, result=Jsonb(result))
                tx.execute("drop_approved_rows", erasure_id=erasure_id)
                tx.execute(
                    "request_replayed",
                    **entry.key._asdict(),
                    result=Jsonb(result),
                    plan_sha256=entry.plan_sha256,
                    executed_at=entry.executed_at,
                    run_id=run.run_id,
                    now=run.now,
                )
        run.done("erase_again", sum(execution.counts.values()), entry.firm_id)


def _target(entry: Entry) -> str:
    return f"{entry.scope_type}:{entry.entity_id}"


def _in_order(entries: Collection[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry.executed_at, entry.key))


def _finding(kind: str, entry: Entry) -> Finding:
    details = {"request": entry.request_id, "executed_at": entry.executed_at.isoformat()}
    return Finding(kind, _target(entry), Severity.WARNING, ADVICE[kind], entry.firm_id, details)
