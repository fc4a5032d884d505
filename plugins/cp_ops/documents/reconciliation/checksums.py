"""Deep comparison: a version's own SHA-256 with the one that S3 keeps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cp_ops.documents.reconciliation.plan import JudgedVersion, VersionVerdict
from cp_ops.documents.reconciliation.verdicts import record_verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cp_ops.documents.reconciliation.listing import Listing
    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.object_store import ObjectStore

CHUNK = 1_000
"""Versions that are compared at a time."""
THREADS = 8


def compare_checksums(run: JobRun, store: ObjectStore, listing: Listing, tenants: Sequence[Tenant]) -> None:
    """Judge the matched versions whose SHA-256 differs from S3's; one call for each that both sides have one for.

    The outcome tells how many were compared, how many rows have no SHA-256, and for how many S3 has none: those were
    uploaded without one, or in parts, where S3 keeps a checksum of the parts' checksums.
    """
    compared = without_own = without_remote = 0
    for tenant in tenants:
        with run.read(tenant) as tx:
            coverage = tx.one("checksum_coverage", firm_ids=list(tenant.firm_ids))
        if coverage:
            without_own += coverage["without_own"]
            without_remote += coverage["without_remote"]
        done, composite = _compare(run, store, listing.names(), tenant)
        compared += done
        without_remote += composite
    run.note("checksums_compared", compared)
    run.note("rows_without_checksum", without_own)
    run.note("objects_without_checksum", without_remote)


def _compare(run: JobRun, store: ObjectStore, buckets: dict[int, str], tenant: Tenant) -> tuple[int, int]:
    compared = composite = 0
    after = 0
    with ThreadPoolExecutor(THREADS) as pool:
        while True:
            with run.read(tenant) as tx:
                versions = tx.rows(
                    "comparable_versions", firm_ids=list(tenant.firm_ids), after=after, limit=CHUNK
                )
            if not versions:
                return compared, composite
            after = versions[-1]["version_id"]
            answers = pool.map(
                lambda version: store.sha256(buckets[version["bucket"]], version["object_key"]), versions
            )
            differing: list[JudgedVersion] = []
            for version, digest in zip(versions, answers, strict=True):
                # None: uploaded in parts. S3 then has a checksum of the parts' checksums, which compares with nothing.
                compared += digest is not None
                composite += digest is None
                if digest not in (None, version["checksum"]):
                    differing.append(JudgedVersion(version["version_id"], VersionVerdict.CHECKSUM))
            record_verdicts(run, differing)
            run.progress(f"{compared} checksums compared")
