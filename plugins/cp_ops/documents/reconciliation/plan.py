"""What reconcile_s3 can find, what it believes, and what it plans: pure.

A version is missing when no listed object has its fingerprint, nor that of its decrypted location, and S3 does not have
its key when asked once more (`judge_unlisted`). An object is an orphan when it is older than the grace and no version or
document of any firm, whatever its status, names it: by its stored fingerprint or, where that cannot tell, by its
decrypted location.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from cp_ops.runtime.errors import ImplausibleError
from cp_ops.runtime.findings import Advice, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cp_ops.runtime.object_store import Presence


class VersionVerdict(StrEnum):
    """What is concluded about a document version; the statements of the room write some of these themselves."""

    MATCHED = "matched"
    MISSING = "missing_object"
    SIZE = "size_mismatch"
    CHECKSUM = "checksum_mismatch"
    UNREADABLE = "unreadable_row"
    NEWER = "newer"
    ARRIVED = "arrived"
    GONE = "gone"
    UNJUDGED = "unjudged"
    """None of the others: there must be no such version at the end."""


ORPHAN = "orphan_object"
"""The kind of finding about an object that no row names."""

NOT_JUDGED: Mapping[str, str] = {
    VersionVerdict.NEWER: "version is newer than the listing",
    VersionVerdict.ARRIVED: "object arrived after its bucket was listed",
    VersionVerdict.GONE: "version was deleted or changed during the run",
}
"""Why a version is passed over until the next run."""


KINDS: Mapping[str, Advice] = {
    VersionVerdict.MISSING: Advice(
        Severity.CRITICAL,
        "Restore the object: where details say recoverable, remove the delete marker or copy the older version; "
        "otherwise from a backup or a new upload",
    ),
    VersionVerdict.SIZE: Advice(
        Severity.CRITICAL,
        "Compare the object with the version's history: restore the right object, or correct file_size_bytes",
    ),
    VersionVerdict.CHECKSUM: Advice(
        Severity.CRITICAL,
        "Treat the object as altered: find out who wrote it and restore the version whose SHA-256 the row has",
    ),
    VersionVerdict.UNREADABLE: Advice(
        Severity.WARNING,
        "Find out with which key the row was written, and let the application store its location and fingerprint anew",
    ),
    ORPHAN: Advice(
        Severity.WARNING,
        "Find the object by its fingerprint (sha256 of ':bucket:key'), make sure that no open unreadable_row finding is "
        "about it, then attach it to a document or delete it by hand",
    ),
}

MIN_VERSIONS_TO_DOUBT = 10
"""From this many versions of a bucket on, a listing that lacks too many of them is not believed."""


class JudgedVersion(NamedTuple):
    """A version and the verdict on it.

    :ivar delete_marker: a versioned bucket hides its object behind a delete marker.
    :ivar recoverable: an older version of its object is still there.
    """

    version_id: int
    verdict: VersionVerdict
    reason: str | None = None
    delete_marker: bool = False
    recoverable: bool = False


def judge_unlisted(version_id: int, presence: Presence) -> JudgedVersion:
    """Judge a version whose object the listing does not show, by what S3 says when asked for its key once more."""
    if presence.present:
        return JudgedVersion(version_id, VersionVerdict.ARRIVED)
    return JudgedVersion(
        version_id, VersionVerdict.MISSING, None, presence.delete_marker, presence.recoverable
    )


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


def require_complete(versions: int, counts: Mapping[str, int]) -> None:
    """Assert that every version got exactly one verdict.

    :param versions: how many were taken from the database.
    :param counts: versions per verdict.
    :raises ImplausibleError: when the numbers do not add up.
    """
    if sum(counts.values()) != versions or counts.get(VersionVerdict.UNJUDGED):
        raise ImplausibleError(
            f"{versions} versions were taken, but {sum(counts.values())} counted and {counts.get('unjudged', 0)} left "
            "without a verdict: nothing was concluded. This is an error of cp_ops; report it with the run's log"
        )
