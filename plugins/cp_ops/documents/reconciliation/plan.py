"""What reconcile_s3 can find, and the pure decisions behind it: no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import ImplausibleError
from cp_ops.runtime.field_encryption import FieldEncryption, UndecryptableError, location_fingerprint
from cp_ops.runtime.findings import Severity
from cp_ops.runtime.plan import Action, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding: how much it matters, and what a person can do about it."""

    severity: Severity
    proposed_action: str


MISSING, SIZE, CHECKSUM = "missing_object", "size_mismatch", "checksum_mismatch"
UNREADABLE, ORPHAN = "unreadable_row", "orphan_object"

KINDS: Mapping[str, Kind] = {
    MISSING: Kind(
        Severity.CRITICAL,
        "Restore the object: where details say recoverable, remove the delete marker or copy the older version; "
        "otherwise from a backup or a new upload",
    ),
    SIZE: Kind(
        Severity.CRITICAL,
        "Compare the object with the version's history: restore the right object, or correct file_size_bytes",
    ),
    CHECKSUM: Kind(
        Severity.CRITICAL,
        "Treat the object as altered: find out who wrote it and restore the version whose SHA-256 the row has",
    ),
    UNREADABLE: Kind(
        Severity.WARNING,
        "Find out with which key the row was written, and let the application store its location and fingerprint anew",
    ),
    ORPHAN: Kind(
        Severity.WARNING,
        "Find the object by its fingerprint (sha256 of ':bucket:key'), make sure that no open unreadable_row finding is "
        "about it, then attach it to a document or delete it by hand",
    ),
}

FINGERPRINT_DIFFERS = "fingerprint_differs"
"""The reason of an unreadable row whose object is found by its decrypted location, but not by its stored fingerprint."""

MIN_VERSIONS_TO_DOUBT = 10
"""From this many versions of a bucket on, a listing that lacks too many of them is not believed."""


@dataclass(frozen=True, slots=True)
class UnmatchedVersion:
    """A version that no listed object matches by fingerprint; its location as it is stored."""

    version_id: int
    firm_id: int
    stored_fingerprint: str
    s3_bucket: str | None
    s3_key: str | None
    gone: bool


@dataclass(frozen=True, slots=True)
class Location:
    """Where a version's object should be.

    :param key: None when only the bucket was decrypted.
    :param fingerprint: computed from the decrypted location; '' when only the bucket was decrypted.
    """

    bucket: str
    key: str | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a version's location cannot be told."""

    reason: str


def locate(
    version: UnmatchedVersion, encryption: FieldEncryption, key_id: str, listed: Iterable[str]
) -> Location | Unreadable:
    """Decrypt a version's location: its bucket and, where that is listed under the firm's key, its key.

    :param listed: the buckets whose objects were fingerprinted under `key_id`.
    """
    try:
        bucket = encryption.decrypt(version.s3_bucket, key_id)
        if bucket and bucket not in listed:
            return Location(bucket)
        key = encryption.decrypt(version.s3_key, key_id)
    except UndecryptableError:
        return Unreadable("not_decryptable")
    if not bucket or not key:
        return Unreadable("no_location")
    return Location(bucket, key, location_fingerprint(key_id, bucket, key))


def placement_reason(version: UnmatchedVersion, location: Location) -> str | None:
    """Tell whether a stored fingerprint is wrong; one that was never stored is not."""
    differs = version.stored_fingerprint not in ("", location.fingerprint)
    return FINGERPRINT_DIFFERS if differs else None


@dataclass
class BucketEvidence:
    """What is known about one bucket's listing.

    :param objects: objects that it shows.
    :param matched: versions whose object it shows.
    :param unexplained: versions that say they live there, whose object it does not show, and that no delete marker
        explains.
    """

    objects: int = 0
    matched: int = 0
    unexplained: int = 0


def require_plausible(bucket: str, evidence: BucketEvidence, least_share: float) -> None:
    """Refuse to believe a listing that is empty, or lacks too many of the versions that say they live there.

    :param least_share: the share of those versions that the listing must show.
    :raises ImplausibleError: naming the bucket.
    """
    if not evidence.unexplained:
        return
    known = evidence.matched + evidence.unexplained
    if not evidence.objects:
        raise ImplausibleError(
            f"bucket {bucket}: the listing is empty, but document versions live there: nothing was concluded. Check that "
            "connection cp_s3 reaches the right account, region and endpoint"
        )
    if known >= MIN_VERSIONS_TO_DOUBT and evidence.matched < least_share * known:
        raise ImplausibleError(
            f"bucket {bucket}: the listing has {evidence.objects} objects and lacks at least {evidence.unexplained} of "
            f"{known} versions that live there: nothing was concluded. Check connection cp_s3; if the objects are really "
            f"lost, lower [cp_ops] s3_min_listing_share (now {least_share}) for one run"
        )


def require_readable(*, matched: int, readable: int, unreadable: int) -> None:
    """Refuse to call every row damaged: where none of many can be decrypted the key is wrong.

    :raises ImplausibleError: saying what to check.
    """
    if not matched and not readable and unreadable >= MIN_VERSIONS_TO_DOUBT:
        raise ImplausibleError(
            f"none of {unreadable} document versions can be decrypted: nothing was concluded. Check the password of "
            "connection cp_kms and the settings kms_backend and default_firm_kms_key_id of section [cp_ops]"
        )


@dataclass(frozen=True, slots=True)
class Change:
    """What the findings ledger would do: open or resolve findings of one kind and firm.

    :param subjects_sha256: hash over the subjects, so that a plan's hash tells which.
    """

    change: str
    kind: str
    firm_id: int | None
    findings: int
    subjects_sha256: str


def plan_findings(changes: Iterable[Change]) -> Plan:
    """Plan what to open and resolve. Pure."""
    reasons = {"open": "found and not known yet", "resolve": "known and not found any more"}
    return Plan.of(
        Action(
            f"{change.change}_{change.kind}",
            f"{change.kind}:firm:{change.firm_id or 'shared'}",
            reasons[change.change],
            change.firm_id,
            change.findings,
            {"subjects": change.subjects_sha256},
        )
        for change in changes
    )


def require_complete(versions: int, counts: Mapping[str, int]) -> None:
    """Assert that every version got exactly one verdict.

    :param versions: how many were taken from the database.
    :param counts: versions per verdict.
    :raises ImplausibleError: when the numbers do not add up.
    """
    if sum(counts.values()) != versions or counts.get("unjudged"):
        raise ImplausibleError(
            f"{versions} versions were taken, but {sum(counts.values())} counted and {counts.get('unjudged', 0)} left "
            "without a verdict: nothing was concluded. This is an error of cp_ops; report it with the run's log"
        )
