"""The demo world's files: which versions and objects there are, planned without any I/O, and put into S3.

The plan follows from the scale alone, so that a sandbox whose S3 forgot its objects can be given them again.
"""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sandbox.world.documents import StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

JOB = "reconcile_s3"
FORMER_KEY_ID = "retired-firm-key"
UPLOAD_THREADS = 8
BULK_DOCUMENTS = 20
_SUBJECTS = (
    "Engagement letter",
    "Tax return",
    "Balance sheet",
    "Board minutes",
    "Statement of work",
    "Payroll",
)


def bucket(firm: int) -> str:
    """Return the name of a firm's bucket."""
    return f"consultantpro-firm-{firm}"


def archive_bucket(firm: int) -> str:
    """Return the name of the bucket (versioned) that holds a firm's superseded versions."""
    return f"consultantpro-firm-{firm}-archive"


@dataclass(frozen=True)
class PlannedVersion:
    """A version's row, the object that is in S3 for it (None: none), and what is wrong with the two."""

    stored: StoredFile
    body: bytes | None
    kind: str | None = None
    note: str = ""
    deleted: bool = False  # the object is hidden by a delete marker


@dataclass(frozen=True)
class PlannedDocument:
    """A document of firm 1, 2 or 3 and its versions, oldest first."""

    firm: int
    name: str
    versions: tuple[PlannedVersion, ...]


@dataclass(frozen=True)
class PlannedObject:
    """An object that no row knows."""

    firm: int
    bucket: str
    key: str
    body: bytes


ORPHANS = (
    PlannedObject(
        1, bucket(1), "uploads/interrupted-upload.pdf", b"an upload whose row was never written\n" * 9
    ),
)


def planned_documents() -> tuple[PlannedDocument, ...]:
    """Return the documents that tell the story: each discrepancy once, among files that are right."""
    letter, lease = good(1, "engagement-letter.pdf"), good(1, "lease.pdf")
    statement, policy, ledger = good(1, "statement.pdf"), good(1, "policy.pdf"), good(1, "ledger.xlsx")
    return (
        PlannedDocument(1, "Engagement letter", (letter,)),
        PlannedDocument(1, "Board minutes", _three_versions()),
        PlannedDocument(1, "Scan from 2019", (_plain_text(),)),
        PlannedDocument(
            1, "Lease", (replace(lease, body=None, kind="missing_object", note="no object at the key"),)
        ),
        PlannedDocument(1, "Bank statement", (_resized(statement),)),
        PlannedDocument(1, "Expense policy", (_tampered(policy),)),
        PlannedDocument(1, "General ledger", (_unreadable(ledger),)),
        PlannedDocument(1, "Withdrawn offer", (_deleted(),)),
        PlannedDocument(2, "Lettre de mission", (good(2, "lettre-de-mission.pdf"),)),
        PlannedDocument(2, "Bilan", (good(2, "bilan-v1.xlsx"), good(2, "bilan-v2.xlsx"))),
        PlannedDocument(
            2,
            "Facture fournisseur",
            (
                replace(
                    good(2, "facture.pdf"),
                    body=None,
                    kind="missing_object",
                    note="under the firm's own key id",
                ),
            ),
        ),
        PlannedDocument(3, "Signed lease", (good(3, "lease.pdf"),)),
        # Suspended firms are not reconciled: nobody may report this one.
        PlannedDocument(3, "Lost file", (replace(good(3, "lost.pdf"), body=None),)),
    )


def bulk_documents(firm: int, scale: int) -> Iterator[PlannedDocument]:
    """Yield documents without discrepancies, BULK_DOCUMENTS per unit of scale."""
    for number in range(1, BULK_DOCUMENTS * scale + 1):
        subject = _SUBJECTS[number % len(_SUBJECTS)]
        key = f"{subject.lower().replace(' ', '-')}-{number:06d}.pdf"
        yield PlannedDocument(firm, f"{subject} {number}", (good(firm, key),))


def good(firm: int, name: str) -> PlannedVersion:
    """Return a version whose object is there and is what the row says."""
    key = f"documents/{name}"
    body = f"{bucket(firm)}/{key}\n".encode() * (5 + len(name))
    return PlannedVersion(
        StoredFile(bucket(firm), key, size=len(body), checksum=hashlib.sha256(body).hexdigest()), body
    )


def _three_versions() -> tuple[PlannedVersion, ...]:
    """Return a document's history: the first two versions were moved to the archive bucket."""
    versions = [good(1, f"board-minutes-v{number}.pdf") for number in (1, 2, 3)]
    archived = [replace(v, stored=replace(v.stored, bucket=archive_bucket(1))) for v in versions[:2]]
    return (*archived, versions[2])


def _plain_text() -> PlannedVersion:
    """Return a row from before field encryption, which matches its object all the same."""
    version = good(1, "scan-2019.pdf")
    return replace(version, stored=replace(version.stored, encrypted=False))


def _resized(version: PlannedVersion) -> PlannedVersion:
    stored = replace(version.stored, size=version.stored.size + 512, checksum="")
    return replace(version, stored=stored, kind="size_mismatch", note="the row says 512 bytes more")


def _tampered(version: PlannedVersion) -> PlannedVersion:
    body = version.body or b""
    return replace(
        version,
        body=body[::-1],
        kind="checksum_mismatch",
        note="same size, other content, SHA-256 known to S3",
    )


def _unreadable(version: PlannedVersion) -> PlannedVersion:
    """Return a row left behind by a key rotation; its object went with the old key's bucket."""
    stored = replace(version.stored, key_id=FORMER_KEY_ID)
    return replace(
        version,
        stored=stored,
        body=None,
        kind="unreadable_row",
        note="encrypted with a key that the firm no longer has",
    )


def _deleted() -> PlannedVersion:
    version = good(1, "withdrawn-offer.pdf")
    return replace(
        version,
        stored=replace(version.stored, bucket=archive_bucket(1)),
        kind="missing_object",
        note="hidden by a delete marker",
        deleted=True,
    )


def put_objects(s3: Any, documents: Sequence[PlannedDocument]) -> int:
    """Create the buckets and put every planned object that is not there yet; return how many were put."""
    existing: set[tuple[str, str]] = set()
    for name in (bucket(1), archive_bucket(1), bucket(2), bucket(3)):
        s3.create_bucket(Bucket=name)
        pages = s3.get_paginator("list_object_versions").paginate(Bucket=name)
        existing |= {(name, entry["Key"]) for page in pages for entry in page.get("Versions", [])}
    s3.put_bucket_versioning(Bucket=archive_bucket(1), VersioningConfiguration={"Status": "Enabled"})
    versions = [
        version for document in documents for version in document.versions if version.body is not None
    ]
    wanted = {(v.stored.bucket, v.stored.key): v.body for v in versions}
    wanted |= {(orphan.bucket, orphan.key): orphan.body for orphan in ORPHANS}
    missing = {place: body for place, body in wanted.items() if place not in existing}

    def put(item: tuple[tuple[str, str], bytes | None]) -> None:
        (name, key), body = item
        checksum = base64.b64encode(hashlib.sha256(body or b"").digest()).decode()
        s3.put_object(Bucket=name, Key=key, Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum)

    with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
        list(pool.map(put, missing.items()))
    for version in versions:
        if version.deleted and (version.stored.bucket, version.stored.key) in missing:
            s3.delete_object(Bucket=version.stored.bucket, Key=version.stored.key)
    return len(missing)


def empty_buckets(s3: Any) -> None:
    """Delete the demo's buckets with everything in them."""
    present = {entry["Name"] for entry in s3.list_buckets()["Buckets"]}
    for name in {bucket(1), archive_bucket(1), bucket(2), bucket(3)} & present:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
            for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                s3.delete_object(Bucket=name, Key=entry["Key"], VersionId=entry["VersionId"])
        s3.delete_bucket(Bucket=name)
