"""What jobs ask of an object store such as S3; hooks provide it, domains use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A current object as a listing shows it; `has_sha256`: the store keeps a SHA-256 of it."""

    key: str
    size: int
    last_modified: datetime
    has_sha256: bool


@dataclass(frozen=True, slots=True)
class Presence:
    """What a look-up of one key shows.

    :param present: there is a current object.
    :param delete_marker: a versioned bucket hides the object behind a delete marker.
    :param recoverable: an older version is still there.
    """

    present: bool
    delete_marker: bool = False
    recoverable: bool = False


class ObjectStore(Protocol):
    """Reads buckets. Errors are those of `cp_ops.runtime.errors` and name the bucket, never a key.

    `calls` counts every request; methods may be called from several threads.
    """

    calls: int

    def pages(self, bucket: str) -> Iterator[list[StoredObject]]:
        """List a bucket's current objects, in pages of at most 1,000."""
        ...

    def look_up(self, bucket: str, key: str) -> Presence:
        """Look for one key, with its older versions and delete markers."""
        ...

    def sha256(self, bucket: str, key: str) -> str | None:
        """Give the hex SHA-256 that the store keeps of an object's whole content; None when it keeps none."""
        ...


class ObjectDeleter(Protocol):
    """Deletes objects for good. Errors are those of `cp_ops.runtime.errors` and name the bucket, never a key."""

    calls: int

    def delete_versions(self, bucket: str, key: str) -> int:
        """Delete every version and delete marker of one key; gives how many there were.

        Deleting again converges: a key of which nothing is left gives 0.
        """
        ...
