"""The stored files of erased documents: every version of every object is deleted before the rows forget where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.job import JobRun


class ObjectEraser(Protocol):
    """Deletes objects for good. Errors are those of `cp_ops.runtime.errors` and name the bucket, never a key."""

    calls: int

    def delete_versions(self, bucket: str, key: str) -> int:
        """Delete every version and delete marker of one key; gives how many, 0 when nothing is left."""
        ...


def delete_objects(
    run: JobRun,
    eraser: ObjectEraser,
    encryption: FieldEncryption,
    kms_key_id: str,
    locations: Iterable[Mapping[str, str]],
    *,
    deleted_versions: Callable[[int], None],
) -> int:
    """Delete the objects of these stored locations; gives how many versions went.

    :param kms_key_id: `firm_firm.kms_key_id`.
    :param deleted_versions: told of each object how many versions went, before the next one is deleted; a kill just
        before it is told leaves that object's versions uncounted.
    :param locations: rows with document_id, s3_bucket and s3_key as the application stores them.
    :raises UndecryptableError: when a location cannot be read: the document's file could not be found, so nothing of
        the document is erased.
    """
    deleted = 0
    key_id = encryption.key_id(kms_key_id)
    for location in locations:
        bucket = encryption.decrypt(location["s3_bucket"], key_id)
        key = encryption.decrypt(location["s3_key"], key_id)
        before = eraser.calls
        versions = eraser.delete_versions(bucket, key)
        deleted_versions(versions)
        deleted += versions
        run.remote_call(eraser.calls - before)
        run.progress(f"document {location['document_id']}: {deleted} stored versions deleted")
    return deleted
