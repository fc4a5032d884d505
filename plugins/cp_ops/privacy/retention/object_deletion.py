"""Deleting objects after their rows: decided in the rows' transaction, done after it, forgotten when it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import CpOpsError, RowFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.object_store import ObjectDeleter

BATCH = 500
"""Objects that are looked up at a time."""


@dataclass(frozen=True, slots=True)
class IntendedDeletion:
    """An object whose row is gone, as a row of `cp_ops.object_deletion` remembers it.

    :ivar s3_bucket: as the application stored it, encrypted; so is `s3_key`.
    :ivar named: a remaining row of the firm still has the object.
    """

    id: int
    subject: str
    s3_bucket: str
    s3_key: str
    kms_key_id: str
    named: bool


class ObjectDeletions:
    """Carries out what `cp_ops.object_deletion` says.

    :param encryption: gives the application's field encryption; asked only when there is something to delete.
    """

    def __init__(self, store: ObjectDeleter, encryption: Callable[[], FieldEncryption]) -> None:
        self._store, self._encryption = store, encryption

    def carry_out(self, run: JobRun, tenant: Tenant, firm_id: int, *, in_time: Callable[[], bool]) -> int:
        """Delete a firm's objects whose rows are gone, also those that a killed run left; gives how many.

        An object that a remaining row of the firm still names stays. One that fails is counted as failed and tried
        again by the next run.
        """
        deleted, after_id = 0, 0
        while in_time():
            with run.read(tenant) as tx:
                batch = tx.rows(
                    "object_deletions",
                    IntendedDeletion,
                    firm_id=firm_id,
                    command=run.command,
                    after_id=after_id,
                    batch=BATCH,
                )
            if not batch:
                break
            after_id = batch[-1].id
            # Rows may share an object. It stays as long as one names it, and the intention to delete it is dropped.
            named = [intended.id for intended in batch if intended.named]
            run.skip("objects: another document still names it", len(named))
            gone = [
                intended.id
                for intended in batch
                if not intended.named and self._delete(run, tenant, intended)
            ]
            # Forgotten after they are deleted: a kill in between deletes them once more, which changes nothing.
            with run.write(tenant) as tx:
                tx.execute("objects_deleted", ids=named + gone)
            deleted += len(gone)
            run.progress(f"firm {firm_id}: {deleted} objects deleted")
        return deleted

    def _delete(self, run: JobRun, tenant: Tenant, intended: IntendedDeletion) -> bool:
        """Delete one object; False when that failed, which is written down for the next run."""
        try:
            self._delete_stored(intended)
        except CpOpsError as error:
            run.fail(intended.subject, error)
            with run.write(tenant) as tx:
                tx.execute("object_deletion_failed", id=intended.id, error=str(error))
            return False
        return True

    def _delete_stored(self, intended: IntendedDeletion) -> None:
        encryption = self._encryption()
        key_id = encryption.key_id(intended.kms_key_id)
        bucket = encryption.decrypt(intended.s3_bucket, key_id)
        key = encryption.decrypt(intended.s3_key, key_id)
        if not bucket or not key:
            raise RowFailedError("the row named no bucket: the object cannot be found")
        self._store.delete_versions(bucket, key)
