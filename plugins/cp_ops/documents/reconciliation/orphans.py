"""Objects that no row of any firm names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from cp_ops.documents.reconciliation.listing import bucket_fingerprint
from cp_ops.runtime.errors import RowFailedError
from cp_ops.runtime.field_encryption import location_fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cp_ops.documents.reconciliation.firm_keys import FirmKeys
    from cp_ops.documents.reconciliation.listing import Listing
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.job import JobRun

CLAIMS_PER_COPY = 1_000


@dataclass(frozen=True, slots=True)
class JudgedBucket:
    """A bucket whose orphans are known.

    :param firm_id: the only firm that uses the bucket; None for a shared one, whose orphans are nobody's.
    """

    name: str
    number: int
    fingerprint: str
    firm_id: int | None

    @property
    def subject_prefix(self) -> str:
        """What the subjects of its orphans start with."""
        return f"s3_object:{self.fingerprint}:"


@dataclass(frozen=True, slots=True)
class LocatedRow:
    """Where a row says that its object is, as the application stored it."""

    firm_id: int
    s3_bucket: str | None
    s3_key: str | None


class OrphanSearch:
    """Take away from the unmatched objects what any firm's row names, whatever the firm's status; the rest are orphans.

    A bucket may be shared, so every firm's versions and documents count: also in a run for one firm, and one firm's
    transaction at a time under row-level security. Other firms' keys are tried on the unmatched objects only.
    """

    def __init__(self, run: JobRun, encryption: FieldEncryption, keys: FirmKeys, listing: Listing) -> None:
        self._run = run
        self._encryption = encryption
        self._keys = keys
        self._listing = listing

    def run(self, *, covered: Sequence[int], every_firm: Sequence[int]) -> list[JudgedBucket]:
        """Leave the orphans in the table s3_orphan, and give the buckets that were judged.

        :param covered: the firms of this run.
        :param every_firm: all firms.
        """
        before = self._run.now - timedelta(hours=self._run.settings.s3_orphan_grace_hours)
        with self._run.read() as tx:
            candidates = tx.execute("take_orphan_candidates", modified_before=before)
            tx.execute("analyze_orphans")
        users = self._users()
        # From cheap to dear: stored fingerprints are compared in PostgreSQL; only if some object is still unclaimed are
        # the locations decrypted whose stored fingerprint cannot tell.
        if candidates:
            self._try_other_keys()
            self._claim(users, every_firm)
        if candidates and self._left():
            self._claim_decrypted(covered, every_firm)
        return [
            JudgedBucket(name, number, bucket_fingerprint(name), _only_user(users.get(number, set())))
            for name, number in self._listing.numbers.items()
        ]

    def _users(self) -> dict[int, set[int]]:
        """Give the firms that use each bucket; the orphans of a bucket with one user are that firm's."""
        users = {self._listing.numbers[name]: set(firms) for name, firms in self._listing.firms.items()}
        with self._run.read() as tx:
            for row in tx.rows("bucket_firms"):
                users.setdefault(row["bucket"], set()).add(row["firm_id"])
        return users

    def _left(self) -> int:
        with self._run.read() as tx:
            row = tx.one("count_orphans")
        return int(row["objects"]) if row else 0

    def _try_other_keys(self) -> None:
        for name, number in self._listing.numbers.items():
            others = sorted(self._keys.all_key_ids() - self._listing.keys_of(name))
            if others:
                with self._run.read() as tx:
                    tx.execute(
                        "fingerprint_candidates",
                        bucket=number,
                        bucket_name=name,
                        key_ids=others,
                        key_numbers=[self._keys.number(key_id) for key_id in others],
                    )

    def _claim(self, users: dict[int, set[int]], every_firm: Sequence[int]) -> None:
        for tenant in self._run.tenants(every_firm):
            with self._run.read(tenant) as tx:
                for row in tx.rows("claim_candidates", firm_ids=list(tenant.firm_ids)):
                    users.setdefault(row["bucket"], set()).add(row["firm_id"])

    def _claim_decrypted(self, covered: Sequence[int], every_firm: Sequence[int]) -> None:
        for tenant in self._run.tenants(every_firm):
            with self._run.read(tenant) as tx:
                locations = tx.stream(
                    "unplaced_locations",
                    LocatedRow,
                    firm_ids=list(tenant.firm_ids),
                    covered=list(covered),
                )
                _copy_claims(tx, self._claims(locations))
        with self._run.read() as tx:
            tx.execute("apply_claims")

    def _claims(self, locations: Iterable[LocatedRow]) -> Iterator[tuple[str]]:
        """Give the fingerprints of the decrypted locations in buckets that were listed."""
        for location in locations:
            key_id = self._keys.key_id(location.firm_id)
            try:
                bucket = self._encryption.decrypt(location.s3_bucket, key_id)
                if bucket in self._listing.numbers:
                    key = self._encryption.decrypt(location.s3_key, key_id)
                    yield (location_fingerprint(key_id, bucket, key),)
            except RowFailedError:
                continue  # names nothing that anybody can tell; a version is reported as unreadable


def _copy_claims(tx: Transaction, claims: Iterator[tuple[str]]) -> None:
    while batch := list(islice(claims, CLAIMS_PER_COPY)):
        tx.copy("copy_claims", batch)


def _only_user(firms: set[int]) -> int | None:
    return next(iter(firms)) if len(firms) == 1 else None
