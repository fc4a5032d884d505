"""The listing of the buckets, streamed into temporary tables, and its objects' fingerprints per encryption key."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import CpOpsError
from cp_ops.runtime.field_encryption import location_fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cp_ops.documents.reconciliation.firm_keys import FirmKeys
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.object_store import ObjectStore, StoredObject

log = logging.getLogger(__name__)

PROGRESS_OBJECTS = 50_000


class Listing:
    """Buckets that were listed, each once, and the keys under which their objects were fingerprinted.

    Objects' keys stand in a temporary table of the run's own session (not logged, not replicated, dropped at the end):
    PostgreSQL computes the fingerprints, so another encryption key costs one statement, not another listing.
    """

    def __init__(self, run: JobRun, store: ObjectStore, keys: FirmKeys) -> None:
        self.numbers: dict[str, int] = {}
        self.firms: dict[str, set[int]] = {}
        self.objects = 0
        self.pages = 0
        self._run = run
        self._store = store
        self._keys = keys
        self._pairs: set[tuple[str, str]] = set()

    def names(self) -> dict[int, str]:
        """Give the buckets by number."""
        return {number: name for name, number in self.numbers.items()}

    def under(self, key_id: str) -> set[str]:
        """Give the buckets whose objects were fingerprinted under a key."""
        return {bucket for bucket, key in self._pairs if key == key_id}

    def keys_of(self, bucket: str) -> set[str]:
        """Give the keys under which a bucket's objects were fingerprinted."""
        return {key for name, key in self._pairs if name == bucket}

    def add(self, bucket: str, named_by: str, firm_id: int | None = None) -> None:
        """List a bucket unless it was, and fingerprint its objects under the firm's key unless they were.

        :param named_by: the row or setting that names the bucket, for the error.
        :param firm_id: the firm that uses the bucket; None for one that only the settings name.
        """
        if bucket not in self.numbers:
            self._list(bucket, named_by)
        if firm_id is None:
            return
        self.firms.setdefault(bucket, set()).add(firm_id)
        key_id = self._keys.key_id(firm_id)
        if (bucket, key_id) in self._pairs:
            return
        self._pairs.add((bucket, key_id))
        with self._run.read() as tx:
            tx.execute(
                "fingerprint_objects",
                bucket=self.numbers[bucket],
                bucket_name=bucket,
                key_id=key_id,
                key_number=self._keys.number(key_id),
            )
            tx.execute("analyze_listing")

    def _list(self, bucket: str, named_by: str) -> None:
        number = self.numbers[bucket] = len(self.numbers) + 1
        log.info("bucket %s has fingerprint %s", bucket, bucket_fingerprint(bucket))
        before = self.objects
        try:
            for page in self._store.pages(bucket):
                self.pages += 1
                first = self.objects
                with self._run.read() as tx:
                    self.objects += tx.copy("copy_objects", _rows(page, first, number))
                if self.objects // PROGRESS_OBJECTS > first // PROGRESS_OBJECTS:
                    self._run.progress(f"bucket {number}: {self.objects - before} objects listed")
        except CpOpsError as error:
            # The store names the bucket only. Which row or setting made us read it is what somebody has to correct.
            raise type(error)(
                f"{error}; {named_by} names this bucket. No finding was opened or resolved"
            ) from None
        self._run.progress(f"bucket {number}: {self.objects - before} objects listed")


def _rows(page: Sequence[StoredObject], first: int, bucket: int) -> Iterator[tuple[object, ...]]:
    for place, entry in enumerate(page, 1):
        # PostgreSQL's text has no NUL; neither has any row's key.
        key = entry.key.replace("\0", "\ufffd")
        yield first + place, bucket, key, entry.size, entry.last_modified, entry.has_sha256


def bucket_fingerprint(bucket: str) -> str:
    """Give the name of a bucket in findings: it tells the bucket only to who knows it."""
    return location_fingerprint("", bucket, "")
