"""The stored files of erased documents: every version of every object is deleted before the rows forget where it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from cp_ops.privacy.erasure.plan import Blocker, require_unblocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.object_store import ObjectDeleter


@dataclass(frozen=True, slots=True)
class StoredLocation:
    """Where an object is, encrypted as the application stores it.

    :ivar document_id: the first of `document_ids`, for messages.
    :ivar document_ids: every covered document that is stored there.
    """

    document_id: int
    document_ids: list[int]
    s3_bucket: str = field(repr=False)
    s3_key: str = field(repr=False)


def delete_objects_unless_held(
    run: JobRun,
    tenant: Tenant,
    firm_id: int,
    eraser: ObjectDeleter,
    encryption: FieldEncryption,
    *,
    kms_key_id: str,
    locations: Iterable[StoredLocation],
    count: Callable[[Transaction, int], None],
) -> int:
    """Delete the objects of stored locations, document by document; gives how many versions went.

    All selected documents are looked at before the first object goes. Each is locked while its objects go, so that
    nobody sets a legal hold on it meanwhile.

    :param kms_key_id: `firm_firm.kms_key_id`.
    :param count: told of each document how many versions went. A kill before that leaves them uncounted.
    :raises ErasureBlockedError: when a document is under legal hold by now; its objects are still there.
    :raises UndecryptableError: when a location cannot be read. The file could not be found, so nothing of its document
        is erased.
    """
    by_documents = attrgetter("document_ids")
    stored = sorted(locations, key=by_documents)
    with run.read(tenant) as tx:
        require_unheld(tx, firm_id)
    deleted = 0
    for document_ids, theirs in groupby(stored, key=by_documents):
        # An object that is gone cannot be rolled back. So the rows are locked first, and held until its count is
        # committed: whoever sets a hold in between waits, and finds the document erased.
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
        held = tx.count("legal_holds", firm_id=firm_id)
    else:
        held = tx.count("lock_documents", firm_id=firm_id, document_ids=document_ids)
    require_unblocked({Blocker.LEGAL_HOLD: held})


def _delete_objects(
    run: JobRun,
    eraser: ObjectDeleter,
    encryption: FieldEncryption,
    kms_key_id: str,
    locations: Iterable[StoredLocation],
) -> int:
    deleted = 0
    key_id = encryption.key_id(kms_key_id)
    for location in locations:
        bucket = encryption.decrypt(location.s3_bucket, key_id)
        key = encryption.decrypt(location.s3_key, key_id)
        before = eraser.calls
        deleted += eraser.delete_versions(bucket, key)
        run.remote_call(eraser.calls - before)
        run.progress(f"document {location.document_id}: {deleted} stored versions deleted")
    return deleted
