"""replay_erasures: after a backup was restored, erase again what the journal says was erased."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cp_ops.privacy import erasure_journal
from cp_ops.privacy.erasure import NEEDS
from cp_ops.privacy.erasure_execution import Execution
from cp_ops.privacy.erasure_objects import delete_objects
from cp_ops.privacy.erasure_plan import plan_erasure
from cp_ops.privacy.erasure_preview import SCOPES, Subject, preview
from cp_ops.runtime.audit import Category
from cp_ops.runtime.errors import CpOpsError, LeaseLostError, OptionsError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.options import JobOptions
from cp_ops.runtime.plan import Action, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Callable

    from cp_ops.privacy.erasure_journal import Entry
    from cp_ops.privacy.erasure_objects import ObjectEraser
    from cp_ops.runtime.field_encryption import FieldEncryption


class ReplayErasuresOptions(JobOptions):
    """Options of replay_erasures."""

    journal: str | None = Field(
        default=None,
        title="Journal",
        description="Path of the journal outside the database. Empty: setting erasure_journal, else the journal that "
        "is in the database itself, which a restored backup may have lost entries of",
    )


class ReplayErasures(Job[ReplayErasuresOptions]):
    """Erase again; what is still erased is left alone, legal holds and other blockers were settled the first time.

    :param clients: gives what deletes stored objects, and what reads their encrypted locations.
    """

    command = "replay_erasures"
    domain = "erasure"
    options = ReplayErasuresOptions
    needs = NEEDS

    def __init__(self, clients: Callable[[], tuple[ObjectEraser, FieldEncryption]]) -> None:
        self._clients = clients

    def run(self, run: JobRun, options: ReplayErasuresOptions) -> None:
        """Look at every entry, plan, erase again; one entry that fails does not stop the others."""
        entries = self._entries(run, options)
        due: dict[tuple[int, int], tuple[Entry, str]] = {}
        items: list[Action | Skip] = []
        with run.read() as tx, tx.in_domain("runtime") as runtime:
            firms = {row["id"] for row in runtime.rows("all_firm_ids")}
        for entry in entries:
            target = f"{entry.scope_type}:{entry.entity_id}"
            if entry.firm_id not in firms:
                items.append(Skip(target, "the firm is not in this database", None))
                continue
            try:
                plan = self._look(run, entry)
            except OptionsError:
                items.append(Skip(target, "it is not in this database", entry.firm_id))
                continue
            if plan.actions:
                due[entry.firm_id, entry.request_id] = (entry, plan.sha256)
                reason = f"request {entry.request_id} erased it; a restored backup brought it back"
                items.append(
                    Action(
                        "erase_again", target, reason, entry.firm_id, plan.rows, {"request": entry.request_id}
                    )
                )
            else:
                items.append(Skip(target, "it is erased", entry.firm_id))
        if run.accept(Plan.of(items)):
            for entry, plan_sha256 in due.values():
                try:
                    self._erase(run, entry, plan_sha256)
                except LeaseLostError:
                    raise
                except CpOpsError as error:
                    run.fail(f"{entry.scope_type}:{entry.entity_id}", error)
        run.audit(Category.PURGE, sorted({entry.firm_id for entry, _ in due.values()}))

    def _entries(self, run: JobRun, options: ReplayErasuresOptions) -> list[Entry]:
        """Read the journal: from the file if there is one, and what the database has beside."""
        found: dict[tuple[int, int], Entry] = {}
        with run.read() as tx:
            for row in tx.rows("completed_erasures"):
                row["executed_at"] = row.pop("completed_at").isoformat()
                entry = erasure_journal.Entry(**row)
                found[entry.firm_id, entry.request_id] = entry
        if path := options.journal or run.settings.erasure_journal:
            for entry in erasure_journal.read(path):
                found[entry.firm_id, entry.request_id] = entry
        unknown = sorted({entry.scope_type for entry in found.values()} - set(SCOPES))
        if unknown:
            raise OptionsError("journal", f"names the unknown scopes {', '.join(unknown)}")
        return sorted(found.values(), key=lambda entry: (entry.executed_at, entry.firm_id, entry.request_id))

    def _look(self, run: JobRun, entry: Entry) -> Plan:
        subject = Subject(entry.firm_id, entry.scope_type, entry.entity_id)
        tenant = run.tenants([entry.firm_id])[0]
        with run.temporary_tables(["create_erasure_selection"], "drop_erasure_selection"):
            with run.read(tenant, snapshot=True) as tx:
                covered = preview(run, tx, subject)
            return plan_erasure(covered.found, firm_id=entry.firm_id, subject=str(subject))

    def _erase(self, run: JobRun, entry: Entry, plan_sha256: str) -> None:
        from psycopg.types.json import Jsonb

        subject = Subject(entry.firm_id, entry.scope_type, entry.entity_id)
        tenant = run.tenants([entry.firm_id])[0]
        with run.temporary_tables(["create_erasure_selection"], "drop_erasure_selection"):
            with run.read(tenant, snapshot=True) as tx:
                covered = preview(run, tx, subject)
            execution = Execution(run, tenant, subject, covered, plan_sha256)
            objects = 0
            if covered.locations:
                eraser, encryption = self._clients()
                with run.read() as tx, tx.in_domain("runtime") as runtime:
                    firm = runtime.one("firms", firm_id=entry.firm_id)
                assert firm is not None
                objects = delete_objects(run, eraser, encryption, firm["kms_key_id"], covered.locations)
            execution.erase_dependants()
            execution.search()
            with run.write(tenant) as tx:
                execution.erase_person(tx)
                erasure_id = execution.journal(tx, entry.request_id)
                result = {"run": run.run_id, "replayed": True, "objects_deleted": objects,
                          "rows_erased": sum(execution.counts.values())}  # fmt: skip
                tx.execute("complete_erasure", erasure_id=erasure_id, result=Jsonb(result))
                tx.execute("drop_approved_rows", erasure_id=erasure_id)
                tx.execute(
                    "request_completed",
                    request_id=entry.request_id,
                    firm_id=entry.firm_id,
                    result=Jsonb(result),
                    plan_sha256=plan_sha256,
                    run_id=run.run_id,
                    now=run.now,
                )
        run.done("erase_again", result["rows_erased"], entry.firm_id)
