"""Where a version's object should be: decrypted from its row, for the versions that no listed object matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.runtime.field_encryption import FieldEncryption, UndecryptableError, location_fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable

FINGERPRINT_DIFFERS = "fingerprint_differs"
"""The reason of an unreadable row whose object is found by its decrypted location, but not by its stored fingerprint."""


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
