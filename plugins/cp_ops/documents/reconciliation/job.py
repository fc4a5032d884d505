"""reconcile_s3: compare document versions with the buckets both ways, and report; nothing is ever deleted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cp_ops.documents.reconciliation.checksums import compare_checksums
from cp_ops.documents.reconciliation.firm_keys import FirmKeys
from cp_ops.documents.reconciliation.listing import Listing
from cp_ops.documents.reconciliation.matching import Matching
from cp_ops.documents.reconciliation.options import ReconcileS3Options
from cp_ops.documents.reconciliation.orphans import JudgedBucket, OrphanSearch
from cp_ops.documents.reconciliation.plan import (
    KINDS,
    NOT_JUDGED,
    ORPHAN,
    VersionVerdict,
    require_complete,
)
from cp_ops.runtime.audit import Category
from cp_ops.runtime.finding_changes import FindingChange, plan_findings
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.findings import Settled
    from cp_ops.runtime.object_store import ObjectStore

log = logging.getLogger(__name__)

TEMPORARY_TABLES = (
    "create_s3_object",
    "create_s3_fingerprint",
    "create_s3_version",
    "create_s3_orphan",
    "create_s3_claim",
    "create_s3_finding",
)
LOCATION = "id firm_id s3_key s3_bucket s3_fingerprint"
FOUND = (
    VersionVerdict.MISSING,
    VersionVerdict.SIZE,
    VersionVerdict.UNREADABLE,
)
"""The kinds of findings about versions that every run looks for; a deep run compares checksums, too."""
NOTED = (
    VersionVerdict.MATCHED,
    VersionVerdict.SIZE,
    VersionVerdict.CHECKSUM,
    VersionVerdict.MISSING,
    VersionVerdict.UNREADABLE,
)
"""The verdicts whose numbers are in the outcome."""


class ReconcileS3(Job[ReconcileS3Options]):
    """List the buckets, match them with the document versions by fingerprint, and settle the findings.

    :param store: the object store; only read.
    :param encryption: opens the locations of rows that no listed object matches.
    """

    command = "reconcile_s3"
    statements = "documents/reconciliation"
    options = ReconcileS3Options
    needs = (
        Table.of(
            "documents_versions",
            f"{LOCATION} document_id version_number file_size_bytes checksum created_at",
        ),
        Table.of("documents_documents", LOCATION),
    )

    def __init__(self, store: ObjectStore, encryption: FieldEncryption) -> None:
        self._store = store
        self._encryption = encryption

    def run(self, run: JobRun, options: ReconcileS3Options) -> None:
        """List, match, judge; then open and resolve findings, unless it is a dry run."""
        calls = self._calls()
        try:
            with run.temporary_tables(TEMPORARY_TABLES, "drop_s3_tables"):
                self._reconcile(run, options)
        finally:
            run.remote_call(self._calls() - calls)

    def _calls(self) -> int:
        return self._store.calls + self._encryption.kms.calls

    def _reconcile(self, run: JobRun, options: ReconcileS3Options) -> None:
        firm_ids = [firm.id for firm in run.firms(options.firm_id)]
        tenants = run.tenants(firm_ids)
        with run.read() as tx:
            every_firm = {row["id"]: row["kms_key_id"] for row in tx.rows("firm_keys")}
        keys = FirmKeys(self._encryption, every_firm)
        listing = Listing(run, self._store, keys)
        matching = Matching(run, self._store, self._encryption, keys, listing)
        matching.run(tenants)
        if options.firm_id is None:
            for bucket in _names(run.settings.s3_buckets):
                listing.add(bucket, "setting s3_buckets")
        self._judge(run, listing, tenants, deep=options.deep)
        self._count(run, matching)
        orphans = OrphanSearch(run, self._encryption, keys, listing)
        buckets = orphans.run(covered=firm_ids, every_firm=list(every_firm))
        looked_for = [*FOUND, VersionVerdict.CHECKSUM] if options.deep else FOUND
        kinds = [verdict.value for verdict in looked_for]
        self._stage(run, kinds, buckets)
        self._note(run, listing, matching)
        run.accept(plan_findings(self._changes(run, kinds, firm_ids, buckets)))
        if not run.dry_run:
            self._settle_versions(run, kinds, tenants)
            self._settle_orphans(run, buckets, list(every_firm))
        run.audit(Category.SYSTEM, firm_ids)

    def _judge(self, run: JobRun, listing: Listing, tenants: Sequence[Tenant], *, deep: bool) -> None:
        # A version keeps its first verdict. An altered object is worse news than a fingerprint that was stored wrongly,
        # so that one is judged last.
        with run.read() as tx:
            tx.execute("judge_sizes")
        if deep:
            compare_checksums(run, self._store, listing, tenants)
        with run.read() as tx:
            tx.execute("judge_fingerprints")

    def _count(self, run: JobRun, matching: Matching) -> None:
        """Assert that rows = matched + mismatched + missing + unreadable, and put the numbers into the outcome."""
        with run.read() as tx:
            counts = {row["verdict"]: row["versions"] for row in tx.rows("verdicts")}
        require_complete(matching.versions, counts)
        for verdict, reason in NOT_JUDGED.items():
            run.skip(reason, counts.pop(verdict, 0))
        run.note("rows", sum(counts.values()))
        for verdict in NOTED:
            run.note(verdict.value, counts.get(verdict, 0))

    def _stage(self, run: JobRun, kinds: Sequence[str], buckets: Sequence[JudgedBucket]) -> None:
        with run.read() as tx:
            tx.execute("stage_version_findings", kinds=list(kinds))
            orphans = 0
            for bucket in buckets:
                orphans += tx.execute(
                    "stage_orphan_findings",
                    bucket=bucket.number,
                    bucket_name=bucket.name,
                    bucket_fingerprint=bucket.fingerprint,
                    firm_id=bucket.firm_id,
                )
        run.note(ORPHAN, orphans)

    def _note(self, run: JobRun, listing: Listing, matching: Matching) -> None:
        run.note("buckets", len(listing.numbers))
        run.note("objects", listing.objects)
        run.note("list_calls", listing.pages)
        run.note("look_ups", sum(matching.looked_up.values()))
        log.info("reconciled: %s", " ".join(f"{name}={value}" for name, value in run.outcome.numbers.items()))

    def _changes(
        self, run: JobRun, kinds: Sequence[str], firm_ids: Sequence[int], buckets: Sequence[JudgedBucket]
    ) -> list[FindingChange]:
        with run.read() as tx:
            return tx.rows(
                "finding_changes",
                FindingChange,
                command=self.command,
                kinds=list(kinds),
                firm_ids=list(firm_ids),
                bucket_fingerprints=[bucket.fingerprint for bucket in buckets],
            )

    def _settle_versions(self, run: JobRun, kinds: Sequence[str], tenants: Sequence[Tenant]) -> None:
        for tenant in tenants:
            with run.write(tenant) as tx, run.findings(tx) as ledger:
                tx.execute(
                    "see_version_findings",
                    firm_ids=list(tenant.firm_ids),
                    kinds=list(kinds),
                    severities=[KINDS[kind].severity.value for kind in kinds],
                    actions=[KINDS[kind].proposed_action for kind in kinds],
                )
                settled = ledger.settle(kinds=kinds, firm_ids=tenant.firm_ids, category=Category.SYSTEM)
            _record(run, settled)

    def _settle_orphans(
        self, run: JobRun, buckets: Sequence[JudgedBucket], every_firm: Sequence[int]
    ) -> None:
        # Bucket by bucket: only a bucket that was listed says which of its orphans are gone. A shared bucket's orphans
        # belong to no firm, so their finding has none.
        for bucket in buckets:
            tenant = None if bucket.firm_id is None else run.tenants([bucket.firm_id])[0]
            with run.write(tenant) as tx, run.findings(tx) as ledger:
                tx.execute(
                    "see_orphan_findings",
                    bucket_fingerprint=bucket.fingerprint,
                    severity=KINDS[ORPHAN].severity.value,
                    action=KINDS[ORPHAN].proposed_action,
                )
                settled = ledger.settle(
                    kinds=[ORPHAN],
                    firm_ids=every_firm,
                    category=Category.SYSTEM,
                    subject_prefix=bucket.subject_prefix,
                )
            _record(run, settled)


def _record(run: JobRun, settled: Settled) -> None:
    run.count_findings(settled)
    run.done("findings_opened", settled.opened)
    run.done("findings_resolved", settled.resolved)


def _names(buckets: str) -> list[str]:
    return [name for part in buckets.split(",") if (name := part.strip())]
