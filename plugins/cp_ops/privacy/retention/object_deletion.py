"""Deleting objects after their rows: decided in the rows' transaction, done after it, forgotten when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cp_ops.runtime.errors import CpOpsError, RowFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.object_store import ObjectDeleter

BATCH = 500


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
                    "object_deletions", firm_id=firm_id, command=run.command, after_id=after_id, batch=BATCH
                )
            if not batch:
                break
            after_id = batch[-1]["id"]
            gone: list[int] = []
            for row in batch:
                if row["named"]:
                    run.skip("objects: another document still names it")
                    gone.append(row["id"])
                    continue
                try:
                    self._delete(row["s3_bucket"], row["s3_key"], row["kms_key_id"])
                except CpOpsError as error:
                    run.fail(row["subject"], error)
                    with run.write(tenant) as tx:
                        tx.execute("object_deletion_failed", id=row["id"], error=str(error))
                else:
                    gone.append(row["id"])
                    deleted += 1
            with run.write(tenant) as tx:
                tx.execute("objects_deleted", ids=gone)
            run.progress(f"firm {firm_id}: {deleted} objects deleted")
        return deleted

    def _delete(self, stored_bucket: str, stored_key: str, kms_key_id: str) -> None:
        encryption = self._encryption()
        key_id = encryption.key_id(kms_key_id)
        bucket, key = encryption.decrypt(stored_bucket, key_id), encryption.decrypt(stored_key, key_id)
        if not bucket or not key:
            raise RowFailedError("the row named no bucket: the object cannot be found")
        self._store.delete_versions(bucket, key)
