"""Carry an erasure out.

Rows that refer to the person go first. The person's own rows go last, in the same transaction that records the result.

The order is what makes a killed run harmless. As long as the person's own rows are there, the next run finds everything
again. When they are gone, all is done and searched, and the request says so.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from psycopg import sql

from cp_ops.privacy.erasure.covered import selected_tables
from cp_ops.privacy.erasure.objects import delete_objects_unless_held, require_unheld
from cp_ops.privacy.erasure.plan import MAIL, OBJECTS
from cp_ops.privacy.erasure.search import FirmSearch, Remains, RemainsFinding, Searched, finding
from cp_ops.runtime import audit
from cp_ops.runtime.errors import CpOpsError, PlanChangedError
from cp_ops.runtime.statements import ComposedStatement, template

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cp_ops.privacy.erasure.covered import ColumnGroup, CoveredRows
    from cp_ops.privacy.erasure.entity import RequestedEntity
    from cp_ops.privacy.erasure.journal import JournalEntry
    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.object_store import ObjectDeleter

BATCH = 1_000
DOCUMENTS = "documents_documents"


class RemainsError(CpOpsError):
    """After the erasure an identifier was still found: the request stays open.

    :ivar unreported: what no finding says yet, as it was found in a transaction that this error rolls back.
    """

    def __init__(self, entity: RequestedEntity, remains: Sequence[Remains], *, unreported: bool) -> None:
        where = ", ".join(f"{hit.table}.{hit.column} ({hit.rows})" for hit in remains)
        super().__init__(
            f"an identifier of {entity} is still in {where}: remove it in the application, then run again"
        )
        self.unreported = tuple(remains) if unreported else ()


class ErasureExecution:
    """The writing steps of one erasure; each is a transaction of its own, or several.

    :param plan_sha256: the plan that was approved, also when this run carries out what an earlier one left of it.
    :ivar erasure_id: the journal's id of the erasure, once it is entered by `begin` or `begin_again`.
    """

    def __init__(
        self,
        run: JobRun,
        tenant: Tenant,
        entity: RequestedEntity,
        covered: CoveredRows,
        plan_sha256: str,
    ) -> None:
        self._run, self._tenant, self._entity, self._covered = run, tenant, entity, covered
        self._named: tuple[Remains, ...] = ()
        self._search = FirmSearch(covered)
        self._request_id: int | None = None
        self.plan_sha256 = plan_sha256
        self.erasure_id = 0
        self.counts: dict[str, int] = {}
        self.objects_deleted = 0

    def begin(self, request_id: int, *, resumed: bool) -> None:
        """Enter the erasure into the journal and mark the request.

        :raises PlanChangedError: when the request was taken back, or a resumed erasure would cover new rows.
        """
        with self._run.write(self._tenant) as tx:
            # Somebody may have taken the approval back since the preview.
            if not tx.execute(
                "request_executing", request_id=request_id, firm_id=self._entity.firm_id, now=self._run.now
            ):
                raise PlanChangedError("the request is no longer approved: nothing was done")
            self._enter(
                tx,
                "begin_erasure",
                firm_id=self._entity.firm_id,
                request_id=request_id,
                scope_type=self._entity.scope_type,
                entity_id=self._entity.entity_id,
                plan_sha256=self.plan_sha256,
                now=self._run.now,
                run_id=self._run.run_id,
            )
            if resumed:
                self._refuse_new_rows(tx)
            tx.execute("keep_approved_rows", erasure_id=self.erasure_id)
        self._request_id = request_id

    def begin_again(self, entry: JournalEntry) -> None:
        """Enter an erasure that is carried out again, whatever became of its request."""
        with self._run.write(self._tenant) as tx:
            self._enter(
                tx,
                "begin_replay",
                **entry.key._asdict(),
                plan_sha256=entry.plan_sha256,
                executed_at=entry.executed_at,
                run_id=self._run.run_id,
            )

    def _enter(self, tx: Transaction, statement: str, **values: Any) -> None:
        """Enter the erasure into the journal, which counts from now on what is erased."""
        row = tx.one(statement, **values)
        assert row is not None
        self.erasure_id = int(row["id"])

    def _refuse_new_rows(self, tx: Transaction) -> None:
        # The plan that is left is smaller than the approved one and has another hash, so a resumed run cannot be
        # compared by it. What it may touch is instead what was approved, row by row.
        rows = tx.count("newly_selected", erasure_id=self.erasure_id)
        if rows:
            raise PlanChangedError(
                f"{rows} rows have come up since the erasure was approved: look at a new preview"
            )

    def carry_out(
        self,
        clients: Callable[[], tuple[ObjectDeleter, FieldEncryption]],
        last_step: Callable[[Transaction, Searched], None],
    ) -> None:
        """Take the four steps of an erasure, in the only order in which a kill between two of them is harmless.

        1. The stored files: afterwards the rows would no longer say where they are.
        2. What hangs on the person, in batches. The person's own rows stay, so that the next run finds the rest.
        3. The search: while it finds anything, the person is not erased.
        4. The person's own rows and, in the same transaction, what says that all is done.

        :param last_step: says that all is done; gets the last transaction, and how far the search went.
        """
        self.delete_objects(clients)
        self.erase_dependants()
        searched = self.search()
        with self._run.write(self._tenant) as tx:
            if self._request_id is not None:
                self.hold(tx, self._request_id)
            self.erase_person(tx)
            last_step(tx, searched)

    def delete_objects(self, clients: Callable[[], tuple[ObjectDeleter, FieldEncryption]]) -> None:
        """Delete the stored files of the covered documents.

        :param clients: asked only when there are any.
        """
        if not self._covered.locations:
            return
        eraser, encryption = clients()
        firm_id = self._entity.firm_id
        with self._run.read() as tx:
            firm = tx.one("runtime/firms", firm_id=firm_id)
        assert firm is not None
        self.objects_deleted = delete_objects_unless_held(
            self._run,
            self._tenant,
            firm_id,
            eraser,
            encryption,
            kms_key_id=firm["kms_key_id"],
            locations=self._covered.locations,
            count=lambda tx, versions: self._count_erased(tx, OBJECTS, versions),
        )

    def erase_dependants(self) -> None:
        """Erase what hangs on the person, table by table, in batches."""
        with self._run.read(self._tenant) as tx:
            tables = selected_tables(tx)
        for table, vias in tables.items():
            if table not in self._covered.persons:
                for group in self._covered.groups(table, vias):
                    self._erase(group)
        # The outbox has no keys to persons. Its mails are found by address, as long as this run still knows the addresses.
        with self._run.write(self._tenant) as tx:
            firm_id, known = self._entity.firm_id, self._covered.mail_params
            rows = tx.execute("forget_mails_of_person", firm_id=firm_id, **known)
            rows += tx.execute("forget_texts_about_person", firm_id=firm_id, **known)
            self._count_erased(tx, MAIL, rows)
        self._count(MAIL, rows)

    def search(self) -> Searched:
        """Search the firm for what identifies the person, except where the last transaction is to erase it.

        :raises RemainsError: when an address or a number is left outside the kept columns; findings say where.
        """
        with self._run.read(self._tenant) as tx:
            found = self._search.everywhere(tx, self._covered.spared(tx, self._covered.persons))
        self._named = found.named
        self.report(found.remains)
        if found.remains:
            raise RemainsError(self._entity, found.remains, unreported=False)
        self._run.note("name_mentions", sum(hit.rows for hit in found.named))
        return found

    def report(self, remains: Sequence[Remains]) -> None:
        """Open findings over what is left, and over the names that the search has met; resolve the others."""
        findings = [
            *(finding(RemainsFinding.IDENTIFIER, hit, self._entity) for hit in remains),
            *(finding(RemainsFinding.NAME, hit, self._entity) for hit in self._named),
        ]
        # In a transaction of its own: the error that follows ends the run, and rolls the last transaction back.
        with self._run.write(self._tenant) as tx, self._run.findings(tx) as ledger:
            ledger.saw(findings)
            settled = ledger.settle(
                kinds=list(RemainsFinding),
                firm_ids=[self._entity.firm_id],
                category=audit.Category.PURGE,
                subject_prefix=f"{self._entity}:",
            )
        self._run.count_findings(settled)

    def hold(self, tx: Transaction, request_id: int) -> None:
        """Hold the request until the transaction ends.

        :raises PlanChangedError: when somebody has stopped its execution; the person's own rows are still there.
        :raises ErasureBlockedError: when a document of the person has come under legal hold.
        """
        if tx.one("lock_request", request_id=request_id, firm_id=self._entity.firm_id) is None:
            raise PlanChangedError("the request is no longer being executed: its person's own rows were kept")
        self._require_unheld(tx)

    def erase_person(self, tx: Transaction) -> None:
        """Erase the person's own rows inside the last transaction, and search them: it must not commit half of it.

        :raises RemainsError: when an address or a number is still in one of these rows.
        """
        persons = self._covered.persons
        tables = {table: vias for table, vias in selected_tables(tx).items() if table in persons}
        for table, vias in tables.items():
            for group in self._covered.groups(table, vias):
                self._erase(group, tx)
        if "auth_user" in self._covered.catalogue.tables:
            tx.execute("deactivate_accounts")
        # Before the commit: once these rows are gone, no later run knows what to look for.
        if remains := self._search.selected(tx, tables).remains:
            raise RemainsError(self._entity, remains, unreported=True)

    def _require_unheld(self, tx: Transaction) -> None:
        """Refuse to commit what was done when one of the documents has come under legal hold."""
        if self._covered.document_ids:
            require_unheld(tx, self._entity.firm_id)

    def _erase(self, group: ColumnGroup, last: Transaction | None = None) -> None:
        """Erase a table's columns, batch by batch.

        :param last: the last transaction; None gives each batch a transaction of its own.
        """
        after: str | None = ""
        while after is not None:
            with self._run.write(self._tenant) if last is None else nullcontext(last) as tx:
                rows, after = self._erase_batch(tx, group, after)
                if last is None:
                    self._require_unheld(tx)
            self._count(group.table.name, rows)

    def _erase_batch(self, tx: Transaction, group: ColumnGroup, after: str) -> tuple[int, str | None]:
        """Erase the next rows; gives how many changed, and where the batch ended, None behind the last one."""
        table = group.table.name
        # A hold may come between two batches. The held row is left as it is, and the batch's commit is refused.
        query = template(
            "privacy/erasure/erase_batch",
            assignments=group.assignments(),
            not_under_legal_hold=sql.SQL("NOT line.legal_hold" if table == DOCUMENTS else "true"),
            **group.places(),
        )
        (row,) = tx.rows(
            ComposedStatement(f"erasing {table}", query),
            vias=list(group.vias),
            after=after,
            batch=BATCH,
            now=self._run.now,
        )
        self._count_erased(tx, table, row["rows"])
        return row["rows"], row["last"]

    def _count_erased(self, tx: Transaction, counted: str, rows: int) -> None:
        """Count in the journal, in the transaction that erases: a resumed run certifies what all runs did."""
        if rows:
            tx.execute("count_erased", erasure_id=self.erasure_id, counted=counted, rows=rows)

    def _count(self, table: str, rows: int) -> None:
        """Count for this run's outcome; what earlier runs did is not in it."""
        if rows:
            self.counts[table] = self.counts.get(table, 0) + rows
            self._run.progress(f"{self._entity}: {table}, {self.counts[table]} rows erased")
