"""Matching document versions with listed objects; what stays unmatched is decrypted, and so are its buckets learnt."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cp_ops.documents.reconciliation.listing import bucket_fingerprint
from cp_ops.documents.reconciliation.placement import (
    Location,
    UnmatchedVersion,
    Unreadable,
    locate,
    placement_reason,
)
from cp_ops.documents.reconciliation.plan import (
    BucketEvidence,
    JudgedVersion,
    VersionVerdict,
    judge_unlisted,
    require_plausible,
    require_readable,
)
from cp_ops.documents.reconciliation.verdicts import record_verdicts
from cp_ops.runtime.errors import RowFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cp_ops.documents.reconciliation.firm_keys import FirmKeys
    from cp_ops.documents.reconciliation.listing import Listing
    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.object_store import ObjectStore

CHUNK = 2_000
"""Unmatched versions that are decrypted at a time."""
LOOK_UPS_PER_BUCKET = 1_000
"""Versions without an object whose key is looked up singly; beyond that the listing alone decides."""
LOOK_UP_THREADS = 8

Placed = list[tuple[UnmatchedVersion, Location]]


class Matching:
    """Give every version its object or a verdict.

    Buckets are encrypted, and differ from row to row even where they are the same bucket; one row per firm tells a bucket,
    its listing matches the rows that live there by fingerprint, a row that stays unmatched tells the next. So the number of
    decryptions follows the number of buckets and of findings, not of rows.
    """

    def __init__(
        self, run: JobRun, store: ObjectStore, encryption: FieldEncryption, keys: FirmKeys, listing: Listing
    ) -> None:
        self.versions = 0
        self.looked_up: Counter[str] = Counter()
        self._run = run
        self._store = store
        self._encryption = encryption
        self._keys = keys
        self._listing = listing
        self._unexplained: Counter[str] = Counter()
        self._readable = 0
        self._unreadable = 0

    def run(self, tenants: Sequence[Tenant]) -> None:
        """List the buckets that the firms' rows name, and match every version.

        :raises ImplausibleError: when a listing cannot be the whole truth.
        """
        for tenant in tenants:
            self._sample(tenant)
        for tenant in tenants:
            with self._run.read(tenant) as tx:
                self.versions += tx.execute(
                    "take_versions",
                    firm_ids=list(tenant.firm_ids),
                    key_numbers=self._keys.numbers(tenant.firm_ids),
                    started=self._run.now,
                )
        with self._run.read() as tx:
            tx.execute("analyze_versions")
        for tenant in tenants:
            self._examine_unmatched(tenant)

    def _sample(self, tenant: Tenant) -> None:
        """List the buckets of each firm's newest and oldest version, before any version is matched."""
        with self._run.read(tenant) as tx:
            samples = tx.rows("sample_buckets", firm_ids=list(tenant.firm_ids))
        for sample in samples:
            firm_id = sample["firm_id"]
            try:
                bucket = self._encryption.decrypt(sample["s3_bucket"], self._keys.key_id(firm_id))
            except RowFailedError:
                continue  # judged with the other unmatched rows
            if bucket:
                self._listing.add(bucket, f"documents_versions:{sample['version_id']}", firm_id)

    def _examine_unmatched(self, tenant: Tenant) -> None:
        # One version of each firm first: the bucket that it names is listed, and matches most of the others without
        # decrypting them. Only where nothing new is learnt are more decrypted at a time.
        per_firm = 1
        while True:
            with self._run.read(tenant) as tx:
                versions = tx.rows(
                    "unmatched_versions",
                    UnmatchedVersion,
                    firm_ids=list(tenant.firm_ids),
                    per_firm=per_firm,
                    limit=CHUNK,
                )
            if not versions:
                return
            if self._examine(versions):
                with self._run.read() as tx:
                    tx.execute("rematch_versions")
                per_firm = 1
            else:
                per_firm = min(per_firm * 10, CHUNK)

    def _examine(self, versions: Sequence[UnmatchedVersion]) -> bool:
        """Decrypt a chunk; tells whether it named a bucket that was not listed yet under the firm's key."""
        verdicts: list[JudgedVersion] = []
        placed: Placed = []
        learned: dict[int, tuple[str, UnmatchedVersion]] = {}
        for version in versions:
            if version.firm_id in learned:
                continue  # may well live in the bucket that was just learnt: seen again after its listing
            if version.gone:
                verdicts.append(JudgedVersion(version.version_id, VersionVerdict.GONE))
                continue
            key_id = self._keys.key_id(version.firm_id)
            found = locate(version, self._encryption, key_id, self._listing.under(key_id))
            if isinstance(found, Unreadable):
                verdicts.append(JudgedVersion(version.version_id, VersionVerdict.UNREADABLE, found.reason))
                self._unreadable += 1
            elif found.key is None:
                learned[version.firm_id] = (found.bucket, version)
            else:
                placed.append((version, found))
                self._readable += 1
        verdicts += self._look_up(self._place(placed))
        record_verdicts(self._run, verdicts)
        # After every chunk, and not once at the end: a wrong account or a wrong key would have every version decrypted
        # and looked up first.
        self._require_plausible()
        for bucket, version in learned.values():
            self._listing.add(bucket, f"documents_versions:{version.version_id}", version.firm_id)
        return bool(learned)

    def _place(self, placed: Placed) -> Placed:
        """Match versions by their decrypted location; gives those whose object was not listed."""
        if not placed:
            return []
        with self._run.read() as tx:
            rows = tx.rows(
                "place_versions",
                version_ids=[version.version_id for version, _ in placed],
                fingerprints=[location.fingerprint for _, location in placed],
                reasons=[placement_reason(version, location) for version, location in placed],
                bucket_fingerprints=[bucket_fingerprint(location.bucket) for _, location in placed],
            )
        listed = {row["version_id"] for row in rows if row["object"] is not None}
        return [(version, location) for version, location in placed if version.version_id not in listed]

    def _look_up(self, absent: Placed) -> list[JudgedVersion]:
        """Ask S3 for each absent key once more: it may have arrived meanwhile, or hide behind a delete marker."""
        # A bucket that was emptied would cost one call for each of its versions. Beyond the limit nobody asks, and the
        # absence counts as one that nothing explains.
        asked: Placed = []
        verdicts: list[JudgedVersion] = []
        for version, location in absent:
            if self.looked_up[location.bucket] < LOOK_UPS_PER_BUCKET:
                self.looked_up[location.bucket] += 1
                asked.append((version, location))
            else:
                self._unexplained[location.bucket] += 1
                verdicts.append(JudgedVersion(version.version_id, VersionVerdict.MISSING))
        with ThreadPoolExecutor(LOOK_UP_THREADS) as pool:
            answers = pool.map(lambda item: self._store.look_up(item[1].bucket, str(item[1].key)), asked)
            for (version, location), answer in zip(asked, answers, strict=True):
                verdict = judge_unlisted(version.version_id, answer)
                # A delete marker explains an absence. Absences without one cast doubt on the whole listing.
                if verdict.verdict is VersionVerdict.MISSING:
                    self._unexplained[location.bucket] += not answer.delete_marker
                verdicts.append(verdict)
        return verdicts

    def _require_plausible(self) -> None:
        if not self._unexplained and not self._unreadable:
            return
        with self._run.read() as tx:
            matched = {row["bucket"]: row["versions"] for row in tx.rows("matched_by_bucket")}
            objects = {row["bucket"]: row["objects"] for row in tx.rows("objects_by_bucket")}
        require_readable(matched=sum(matched.values()), readable=self._readable, unreadable=self._unreadable)
        for bucket, unexplained in self._unexplained.items():
            number = self._listing.numbers[bucket]
            evidence = BucketEvidence(objects.get(number, 0), matched.get(number, 0), unexplained)
            require_plausible(bucket, evidence, self._run.settings.s3_min_listing_share)
