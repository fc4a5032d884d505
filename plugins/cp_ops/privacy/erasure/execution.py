"""Carry an erasure out: what hangs on the person first, the person's own rows last, with the result, at once.

The order is what makes a killed run harmless: as long as the person's own rows are there, the next run finds
everything again; when they are gone, all is done and searched and the request says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.privacy.erasure.covered import differs, places, selected, spared, table_groups
from cp_ops.privacy.erasure.objects import delete_objects_unless_held, require_unheld
from cp_ops.privacy.erasure.plan import MAIL, OBJECTS
from cp_ops.privacy.erasure.search import FirmSearch, Remains, Searched
from cp_ops.runtime import audit
from cp_ops.runtime.errors import CpOpsError, PlanChangedError
from cp_ops.runtime.findings import Finding, Severity
from cp_ops.runtime.statements import ComposedStatement, template

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cp_ops.privacy.erasure.covered import Covered
    from cp_ops.privacy.erasure.journal import Entry
    from cp_ops.privacy.erasure.objects import ObjectEraser
    from cp_ops.privacy.erasure.subject import Subject
    from cp_ops.privacy.erasure.treatment import TreatedColumn
    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.job import JobRun

BATCH = 1_000
REMAINS = "identifier_remains"
NAMED = "name_is_mentioned"
DOCUMENTS = "documents_documents"


class RemainsError(CpOpsError):
    """After the erasure an identifier was still found: the request stays open.

    :ivar unreported: what no finding says yet, as it was found in a transaction that this error rolls back.
    """

    def __init__(self, subject: Subject, remains: Sequence[Remains], *, unreported: bool) -> None:
        where = ", ".join(f"{hit.table}.{hit.column} ({hit.rows})" for hit in remains)
        super().__init__(
            f"an identifier of {subject} is still in {where}: remove it in the application, then run again"
        )
        self.unreported = tuple(remains) if unreported else ()


class Execution:
    """The writing steps of one erasure; each is a transaction of its own, or several.

    :param plan_sha256: the plan that was approved, also when this run carries out what an earlier one left of it.
    """

    def __init__(
        self,
        run: JobRun,
        tenant: Tenant,
        subject: Subject,
        covered: Covered,
        plan_sha256: str,
    ) -> None:
        self._covers_documents = bool(covered.document_ids)
        self._named: tuple[Remains, ...] = ()
        self._search = FirmSearch(covered.mapped, covered.catalogue, covered.selection)
        self._run, self._tenant, self._subject, self._covered = run, tenant, subject, covered
        self.plan_sha256 = plan_sha256
        self._persons = set(covered.mapped.subjects.values())
        self.counts: dict[str, int] = {}
        self._erasure_id = 0

    def begin(self, request_id: int, *, resumed: bool) -> int:
        """Enter the erasure into the journal and mark the request; gives the journal's id.

        :raises PlanChangedError: when the request was taken back, or a resumed erasure would cover new rows.
        """
        with self._run.write(self._tenant) as tx:
            if not tx.execute(
                "request_executing", request_id=request_id, firm_id=self._subject.firm_id, now=self._run.now
            ):
                raise PlanChangedError("the request is no longer approved: nothing was done")
            erasure_id = self._enter(
                tx,
                "begin_erasure",
                firm_id=self._subject.firm_id,
                request_id=request_id,
                scope_type=self._subject.scope_type,
                entity_id=self._subject.entity_id,
                plan_sha256=self.plan_sha256,
                now=self._run.now,
                run_id=self._run.run_id,
            )
            if resumed:
                row = tx.one("newly_selected", erasure_id=erasure_id)
                if row and row["rows"]:
                    raise PlanChangedError(
                        f"{row['rows']} rows have come up since the erasure was approved: look at a new preview"
                    )
            tx.execute("keep_approved_rows", erasure_id=erasure_id)
        return erasure_id

    def replay(self, entry: Entry) -> int:
        """Enter an erasure that is carried out again; gives the journal's id."""
        with self._run.write(self._tenant) as tx:
            return self._enter(
                tx,
                "begin_replay",
                **entry.key._asdict(),
                plan_sha256=entry.plan_sha256,
                executed_at=entry.executed_at,
                run_id=self._run.run_id,
            )

    def _enter(self, tx: Transaction, statement: str, **values: Any) -> int:
        """Enter the erasure into the journal, which counts from now on what is erased."""
        row = tx.one(statement, **values)
        assert row is not None
        self._erasure_id = int(row["id"])
        return self._erasure_id

    def delete_objects(self, clients: Callable[[], tuple[ObjectEraser, FieldEncryption]]) -> int:
        """Delete the stored files of the covered documents; gives how many versions went.

        :param clients: asked only when there are any.
        """
        if not self._covered.locations:
            return 0
        eraser, encryption = clients()
        firm_id = self._subject.firm_id
        with self._run.read() as tx:
            firm = tx.one("runtime/firms", firm_id=firm_id)
        assert firm is not None
        return delete_objects_unless_held(
            self._run,
            self._tenant,
            firm_id,
            eraser,
            encryption,
            kms_key_id=firm["kms_key_id"],
            locations=self._covered.locations,
            count=lambda tx, versions: self._count_erased(tx, OBJECTS, versions),
        )

    def _count_erased(self, tx: Transaction, counted: str, rows: int) -> None:
        if rows:
            tx.execute("count_erased", erasure_id=self._erasure_id, counted=counted, rows=rows)

    def erase_dependants(self) -> None:
        """Erase what hangs on the person, table by table, in batches."""
        with self._run.read(self._tenant) as tx:
            tables = selected(tx)
        for table, vias in tables.items():
            if table not in self._persons:
                for allowed, columns in table_groups(self._covered, table, vias):
                    self._erase(table, allowed, columns)
        with self._run.write(self._tenant) as tx:
            firm_id, known = self._subject.firm_id, self._covered.mail_params
            rows = tx.execute("forget_mails_of_person", firm_id=firm_id, **known)
            rows += tx.execute("forget_texts_about_person", firm_id=firm_id, **known)
            self._count_erased(tx, MAIL, rows)
        self._count(MAIL, rows)

    def search(self) -> Searched:
        """Search the firm for what identifies the person, except where the last transaction is to erase it.

        :raises RemainsError: when an address or a number is left outside the kept columns; findings say where.
        """
        with self._run.read(self._tenant) as tx:
            found = self._search.everywhere(tx, spared(tx, self._covered, self._persons))
        self._named = found.named
        self.report(found.remains)
        if found.remains:
            raise RemainsError(self._subject, found.remains, unreported=False)
        self._run.note("name_mentions", sum(hit.rows for hit in found.named))
        return found

    def report(self, remains: Sequence[Remains]) -> None:
        """Open findings over what is left, and over the names that the search has met; resolve the others."""
        findings = [
            *(self._finding(REMAINS, Severity.CRITICAL, hit) for hit in remains),
            *(self._finding(NAMED, Severity.WARNING, hit) for hit in self._named),
        ]
        with self._run.write(self._tenant) as tx, self._run.findings(tx) as ledger:
            ledger.saw(findings)
            settled = ledger.settle(
                kinds=[REMAINS, NAMED],
                firm_ids=[self._subject.firm_id],
                category=audit.Category.PURGE,
                subject_prefix=f"{self._subject}:",
            )
        self._run.count_findings(settled)

    def hold(self, tx: Transaction, request_id: int) -> None:
        """Hold the request until the transaction ends.

        :raises PlanChangedError: when somebody has stopped its execution; the person's own rows are still there.
        :raises ErasureBlockedError: when a document of the person has come under legal hold.
        """
        if tx.one("lock_request", request_id=request_id, firm_id=self._subject.firm_id) is None:
            raise PlanChangedError("the request is no longer being executed: its person's own rows were kept")
        self._require_unheld(tx)

    def erase_person(self, tx: Transaction) -> None:
        """Erase the person's own rows inside the last transaction, and search them: it must not commit half of it.

        :raises RemainsError: when an address or a number is still in one of these rows.
        """
        tables = {table: vias for table, vias in selected(tx).items() if table in self._persons}
        for table, vias in tables.items():
            for allowed, columns in table_groups(self._covered, table, vias):
                self._erase(table, allowed, columns, tx)
        if "auth_user" in self._covered.catalogue.tables:
            tx.execute("deactivate_accounts")
        if remains := self._search.selected(tx, tables).remains:
            raise RemainsError(self._subject, remains, unreported=True)

    def _finding(self, kind: str, severity: Severity, hit: Remains) -> Finding:
        action = (
            "Remove the address or number from these rows in the application, then execute the request again"
            if kind == REMAINS
            else "Look whether these rows mean the erased person or a namesake"
        )
        subject = f"{self._subject}:{hit.table}.{hit.column}"
        return Finding(kind, subject, severity, action, self._subject.firm_id, {"rows": hit.rows})

    def _require_unheld(self, tx: Transaction) -> None:
        """Refuse to commit what was done when one of the documents has come under legal hold."""
        if self._covers_documents:
            require_unheld(tx, self._subject.firm_id)

    def _erase(
        self, table: str, vias: tuple[str, ...], columns: list[TreatedColumn], tx: Transaction | None = None
    ) -> None:
        after = ""
        while True:
            if tx is not None:
                batch = self._batch(tx, table, vias, columns, after)
            else:
                with self._run.write(self._tenant) as own:
                    batch = self._batch(own, table, vias, columns, after)
                    self._require_unheld(own)
            self._count(table, batch["rows"])
            if batch["last"] is None:
                return
            after = batch["last"]

    def _batch(
        self, tx: Transaction, table: str, vias: tuple[str, ...], columns: list[TreatedColumn], after: str
    ) -> dict[str, Any]:
        from psycopg import sql

        facts = self._covered.catalogue.tables[table]
        assignments: list[sql.Composable] = [
            sql.SQL("{} = CASE WHEN {} THEN {} ELSE line.{} END").format(
                sql.Identifier(column.name),
                column.differs(facts),
                column.stand_in(facts),
                sql.Identifier(column.name),
            )
            for column in columns
        ]
        if "updated_at" in facts.columns:
            assignments.append(sql.SQL("updated_at = %(now)s"))
        query = template(
            "privacy/erasure/erase_batch",
            assignments=sql.SQL(", ").join(assignments),
            differs=differs(columns, facts),
            unheld=sql.SQL("NOT line.legal_hold" if table == DOCUMENTS else "true"),
            **places(facts),
        )
        (row,) = tx.rows(
            ComposedStatement(f"erasing {table}", query),
            vias=list(vias),
            after=after,
            batch=BATCH,
            now=self._run.now,
        )
        self._count_erased(tx, table, row["rows"])
        return row

    def _count(self, table: str, rows: int) -> None:
        if rows:
            self.counts[table] = self.counts.get(table, 0) + rows
            self._run.progress(f"{self._subject}: {table}, {self.counts[table]} rows erased")
