"""The stored files of erased documents: every version of every object is deleted before the rows forget where it was."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from cp_ops.privacy.erasure.plan import require_unblocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.object_store import ObjectDeleter


def delete_objects_unless_held(
    run: JobRun,
    tenant: Tenant,
    firm_id: int,
    eraser: ObjectDeleter,
    encryption: FieldEncryption,
    *,
    kms_key_id: str,
    locations: Iterable[Mapping[str, Any]],
    count: Callable[[Transaction, int], None],
) -> int:
    """Delete the objects of stored locations, document by document; gives how many versions went.

    All selected documents are looked at before the first object goes; each is locked while its objects go, so that
    nobody sets a legal hold on it meanwhile.

    :param kms_key_id: `firm_firm.kms_key_id`.
    :param locations: rows with document_id, s3_bucket and s3_key as the application stores them, and `document_ids`:
        every covered document that is stored there.
    :param count: told of each document how many versions went; a kill before leaves that document's uncounted.
    :raises ErasureBlockedError: when a document is under legal hold by now; its objects are still there.
    :raises UndecryptableError: when a location cannot be read: the document's file could not be found, so nothing of
        the document is erased.
    """
    stored = sorted(locations, key=itemgetter("document_ids"))
    with run.read(tenant) as tx:
        require_unheld(tx, firm_id)
    deleted = 0
    for document_ids, theirs in groupby(stored, key=itemgetter("document_ids")):
        with run.write(tenant) as tx:
            require_unheld(tx, firm_id, document_ids)
            versions = _delete_objects(run, eraser, encryption, kms_key_id, theirs)
            count(tx, versions)
        deleted += versions
    return deleted


def require_unheld(tx: Transaction, firm_id: int, document_ids: Sequence[int] | None = None) -> None:
    """Refuse to go on when a document has come under legal hold.

    :param document_ids: lock these; None looks at every selected document.
    :raises ErasureBlockedError: with how many are held.
    """
    if document_ids is None:
        row = tx.one("legal_holds", firm_id=firm_id)
    else:
        row = tx.one("lock_documents", firm_id=firm_id, document_ids=document_ids)
    require_unblocked({"legal hold": row["rows"] if row else 0})


def _delete_objects(
    run: JobRun,
    eraser: ObjectDeleter,
    encryption: FieldEncryption,
    kms_key_id: str,
    locations: Iterable[Mapping[str, Any]],
) -> int:
    deleted = 0
    key_id = encryption.key_id(kms_key_id)
    for location in locations:
        bucket = encryption.decrypt(location["s3_bucket"], key_id)
        key = encryption.decrypt(location["s3_key"], key_id)
        before = eraser.calls
        deleted += eraser.delete_versions(bucket, key)
        run.remote_call(eraser.calls - before)
        run.progress(f"document {location['document_id']}: {deleted} stored versions deleted")
    return deleted
