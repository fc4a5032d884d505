"""reconcile_s3 against a real S3 server and a real database."""

from __future__ import annotations

import hashlib
import json
import logging
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from cp_ops.documents.reconciliation.job import ReconcileS3
from cp_ops.hooks.s3 import S3
from cp_ops.runtime.errors import ImplausibleError, OptionsError, RemoteRefusedError, SettingError
from cp_ops.runtime.field_encryption import FieldEncryption, LocalKms
from cp_ops.runtime.object_store import Presence, StoredObject
from sandbox.services.s3 import S3Server
from sandbox.world.documents import StoredFile
from sandbox.world.encryption import SANDBOX_DEFAULT_KEY_ID, SANDBOX_MASTER_KEY, s3_fingerprint

CANARY = "kanarienvogel"
"""In every object's key: may turn up nowhere else."""


class CountingKms(LocalKms):
    """The local backend, counting what it opens."""

    opened = 0

    def decrypt(self, ciphertext, key_id):
        self.opened += 1
        return super().decrypt(ciphertext, key_id)


class Store(S3):
    """The hook over a client of the test's own endpoint; may do something between listing and look-up."""

    def __init__(self, client, after_listing=None):
        super().__init__(client=client)
        self.after_listing = after_listing

    def pages(self, bucket):
        yield from super().pages(bucket)
        if self.after_listing:
            self.after_listing(bucket)


@pytest.fixture
def encryption():
    return FieldEncryption(CountingKms(SANDBOX_MASTER_KEY), SANDBOX_DEFAULT_KEY_ID)


@pytest.fixture
def job(s3, encryption):
    return lambda **kwargs: ReconcileS3(Store(s3.client, **kwargs), encryption)


@pytest.fixture
def runner(runner):
    """Objects of a test are as young as the test: no grace unless the test says so."""
    return runner.with_settings(s3_orphan_grace_hours=0)


@pytest.fixture
def records(app_db):
    """A connection of the jobs' own role, which sees schema cp_ops and every firm."""
    with psycopg.connect(app_db.cp_ops_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def later(runner):
    """A clock ahead of the objects, which S3 dates by whole seconds."""
    runner.now = datetime.now(UTC) + timedelta(minutes=1)
    return runner


class Files:
    """Documents of a firm with their objects."""

    def __init__(self, firm, s3, bucket=None):
        self.firm, self.s3, self.bucket = firm, s3, bucket or s3.name
        self.client = firm.client()
        self.number = 0

    def key(self, name=None):
        self.number += 1
        return name or f"{CANARY}/{self.firm.id}/é ü:{self.number}.pdf"

    def put(self, key, body=b"content", *, sha256=False):
        extra = {"ChecksumAlgorithm": "SHA256"} if sha256 else {}
        self.s3.client.put_object(Bucket=self.bucket, Key=key, Body=body, **extra)

    def version(
        self, body=b"content", *, there=True, sha256=False, age_days=1, size=None, checksum="", **stored
    ):
        key = self.key()
        if there:
            self.put(key, body, sha256=sha256)
        file = StoredFile(
            self.bucket, key, size=len(body) if size is None else size, checksum=checksum, **stored
        )
        document = self.firm.document(client=self.client, versions=[file], age_days=age_days)
        document.versions[0].document = document
        return document.versions[0]

    def versions(self, count, **kwargs):
        return [self.version(**kwargs) for _ in range(count)]


@pytest.fixture
def files(world, s3):
    return Files(world.firm(), s3)


def findings(records, *, every=False):
    return records.execute(
        "SELECT kind, subject, firm_id FROM cp_ops.finding WHERE resolved_at IS NULL OR %s ORDER BY kind, id",
        (every,),
    ).fetchall()


def details(records, kind):
    return records.execute(
        "SELECT details FROM cp_ops.finding WHERE kind = %s AND resolved_at IS NULL", (kind,)
    ).fetchone()[0]


def subject(version):
    return f"documents_versions:{version.id}"


def orphan(bucket, key):
    return (
        f"s3_object:{hashlib.sha256(f':{bucket}:'.encode()).hexdigest()}"
        f":{hashlib.sha256(f':{bucket}:{key}'.encode()).hexdigest()}"
    )


# -- what is found -----------------------------------------------------------------------------------------------------


def test_finds_each_kind_and_nothing_else(later, job, records, files, s3):
    files.versions(5)
    files.version(checksum=hashlib.sha256(b"content").hexdigest(), sha256=True)
    missing = files.version(there=False)
    resized = files.version(size=99)
    tampered = files.version(b"abc", checksum=hashlib.sha256(b"abd").hexdigest(), sha256=True)
    unreadable = files.version(there=False, key_id="another-firms-key")
    files.put(f"{CANARY}/left-over.pdf")

    outcome = later(job(), deep=True)

    assert findings(records) == [
        ("checksum_mismatch", subject(tampered), files.firm.id),
        ("missing_object", subject(missing), files.firm.id),
        ("orphan_object", orphan(s3.name, f"{CANARY}/left-over.pdf"), files.firm.id),
        ("size_mismatch", subject(resized), files.firm.id),
        ("unreadable_row", subject(unreadable), files.firm.id),
    ]
    assert (outcome.planned, outcome.done, outcome.skipped, outcome.failed) == (5, 5, 0, 0)
    numbers = outcome.numbers
    assert numbers["rows"] == 10
    assert numbers["matched"] == 6
    assert numbers["rows"] == sum(
        numbers[name]
        for name in ("matched", "size_mismatch", "checksum_mismatch", "missing_object", "unreadable_row")
    )
    assert (numbers["buckets"], numbers["objects"], numbers["list_calls"]) == (1, 9, 1)
    assert (numbers["checksums_compared"], numbers["objects_without_checksum"]) == (2, 0)
    assert outcome.remote_calls == 1 + 2 + 1  # one page, two checksums, one look-up
    assert details(records, "size_mismatch") == {
        "fingerprint": resized.fingerprint, "row_bytes": 99, "object_bytes": 7,
    }  # fmt: skip
    assert details(records, "unreadable_row")["reason"] == "not_decryptable"


def test_resolves_what_was_mended(later, job, records, files, s3):
    files.versions(3)
    missing, resized = files.version(there=False), files.version(size=99)
    files.put(f"{CANARY}/left-over.pdf")
    later(job())
    assert len(findings(records)) == 3

    files.put(missing.stored.key)
    missing.update(file_size_bytes=7)
    resized.update(file_size_bytes=7)
    s3.client.delete_object(Bucket=s3.name, Key=f"{CANARY}/left-over.pdf")
    missing.update(file_size_bytes=7)
    outcome = later(job())

    assert findings(records) == []
    assert (outcome.findings.resolved, outcome.done) == (3, 3)
    assert len(findings(records, every=True)) == 3


def test_a_deleted_row_takes_its_finding_along(later, job, owner, files, records):
    files.versions(2)
    missing = files.version(there=False)
    later(job())
    owner.execute("DELETE FROM documents_versions WHERE id = %s", (missing.id,))
    owner.execute("DELETE FROM documents_documents WHERE id = %s", (missing.document.id,))
    later(job())
    assert findings(records) == []


def test_an_erased_document_is_no_missing_object(later, job, records, files):
    """execute_erasure_request leaves such marks in place of a location whose objects it deleted."""
    files.versions(2)
    erased = files.version(there=False)
    for row in (erased, erased.document):
        row.update(s3_key=f"erased-{row.id}", s3_fingerprint=f"erased-{row.id}")
    outcome = later(job())
    assert findings(records) == []
    assert outcome.numbers["rows"] == 2


def test_plain_text_and_never_fingerprinted_rows_are_read_as_they_are(later, job, records, files):
    files.versions(2)
    files.version(encrypted=False)
    older = files.version(encrypted=False)
    older.update(s3_fingerprint="")
    older.document.update(s3_fingerprint="")
    outcome = later(job())
    assert findings(records) == []
    assert outcome.numbers["matched"] == 4


def test_a_row_without_location_and_one_with_a_wrong_fingerprint_are_unreadable(later, job, records, files):
    files.versions(2)
    empty = files.version(there=False)
    empty.update(s3_key="", s3_bucket="")
    moved = files.version()
    moved.update(s3_fingerprint="0" * 64)
    later(job())
    assert findings(records) == [
        ("unreadable_row", subject(empty), files.firm.id),
        ("unreadable_row", subject(moved), files.firm.id),
    ]
    reasons = records.execute("SELECT details ->> 'reason' FROM cp_ops.finding ORDER BY id").fetchall()
    assert {row[0] for row in reasons} == {"no_location", "fingerprint_differs"}


def test_a_delete_marker_is_told_and_the_older_version_too(later, job, records, files, s3):
    s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    files.versions(2)
    deleted = files.version()
    s3.client.delete_object(Bucket=s3.name, Key=deleted.stored.key)
    overwritten = files.version()
    files.put(overwritten.stored.key)  # a noncurrent version beneath a current one is no news
    later(job())
    assert findings(records) == [("missing_object", subject(deleted), files.firm.id)]
    assert details(records, "missing_object")["delete_marker"] is True
    assert details(records, "missing_object")["recoverable"] is True


def test_a_bucket_emptied_by_delete_markers_is_no_empty_listing(later, job, records, files, s3):
    s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    deleted = files.version()
    s3.client.delete_object(Bucket=s3.name, Key=deleted.stored.key)
    later(job())
    assert findings(records) == [("missing_object", subject(deleted), files.firm.id)]


def test_an_unfinished_multipart_upload_is_no_object(later, job, records, files, s3):
    files.version()
    s3.client.create_multipart_upload(Bucket=s3.name, Key=f"{CANARY}/unfinished.pdf")
    later(job())
    assert findings(records) == []


def test_a_documents_own_object_is_no_orphan(later, job, owner, files, records):
    files.version()
    key = files.key()
    files.put(key)
    document = files.firm.document(client=files.client, versions=[StoredFile(files.bucket, key, size=7)])
    owner.execute("DELETE FROM documents_versions WHERE document_id = %s", (document.id,))
    later(job())
    assert findings(records) == []

    document.update(s3_fingerprint="f" * 64)  # its stored location still names the object
    later(job())
    assert findings(records) == []


def test_checksums_are_compared_in_deep_runs_only(later, job, records, files):
    files.versions(2)
    tampered = files.version(b"abc", checksum=hashlib.sha256(b"abd").hexdigest().upper(), sha256=True)
    files.version(b"abc", checksum=hashlib.sha256(b"abd").hexdigest())
    assert later(job()).remote_calls == 1
    assert findings(records) == []

    outcome = later(job(), deep=True)
    assert findings(records) == [("checksum_mismatch", subject(tampered), files.firm.id)]
    assert outcome.numbers["checksums_compared"] == 1
    assert outcome.numbers["objects_without_checksum"] == 1
    assert outcome.numbers["rows_without_checksum"] == 2

    later(job())  # a fast run did not look: it resolves nothing
    assert len(findings(records)) == 1
    files.put(tampered.stored.key, b"abd", sha256=True)
    later(job(), deep=True)
    assert findings(records) == []


# -- time --------------------------------------------------------------------------------------------------------------


def test_an_object_younger_than_the_grace_is_no_orphan(runner, job, records, files):
    files.version()
    files.put(f"{CANARY}/just-uploaded.pdf")
    graceful = runner.with_settings(s3_orphan_grace_hours=24)
    graceful(job())
    assert findings(records) == []
    graceful.now = datetime.now(UTC) + timedelta(hours=25)
    graceful(job())
    assert [kind for kind, _, _ in findings(records)] == ["orphan_object"]


def test_a_version_newer_than_the_listing_is_not_judged(runner, job, records, files):
    files.versions(2)
    files.version(there=False, age_days=-1)
    outcome = runner(job())
    assert findings(records) == []
    assert outcome.skip_reasons == {"version is newer than the listing": 1}


def test_what_arrives_or_goes_while_the_bucket_is_listed_is_not_judged(later, job, records, files):
    files.versions(2)
    late, gone = files.version(there=False), files.version(there=False)

    def meanwhile(bucket):
        files.put(late.stored.key)
        gone.update(s3_fingerprint="9" * 64)

    outcome = later(job(after_listing=meanwhile))
    assert [row for row in findings(records) if row[0] == "missing_object"] == [
        ("missing_object", subject(gone), files.firm.id)
    ]
    assert outcome.skip_reasons == {"object arrived after its bucket was listed": 1}


# -- tenants -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def neighbours(world, s3):
    """Three firms in one bucket: one with the default key, one with its own, one suspended; each with a missing object."""
    firms = [
        Files(world.firm(), s3),
        Files(world.firm(kms_key_id="arn:aws:kms:eu-west-1:123456789012:key/7"), s3),
        Files(world.firm(status="suspended", kms_key_id="key-of-a-suspended-firm"), s3),
    ]
    for files in firms:
        files.versions(3)
    return firms, [files.version(there=False) for files in firms]


@pytest.mark.parametrize("guarded", [False, True], ids=["bypassing", "row_level_security"])
def test_firms_that_share_a_bucket_do_not_see_each_others_objects(
    guarded, later, job, records, neighbours, enable_row_level_security, s3
):
    firms, missing = neighbours
    files = firms[0]
    files.put(f"{CANARY}/left-over.pdf")
    if guarded:
        guarded_runner = enable_row_level_security()
        guarded_runner.settings, guarded_runner.now = later.settings, later.now
        later = guarded_runner

    one = later(job(), firm_id=files.firm.id)
    shared = ("orphan_object", orphan(s3.name, f"{CANARY}/left-over.pdf"), None)
    assert findings(records) == [("missing_object", subject(missing[0]), files.firm.id), shared]
    assert one.numbers["rows"] == 4

    every = later(job())
    assert findings(records) == [
        ("missing_object", subject(missing[0]), firms[0].firm.id),
        ("missing_object", subject(missing[1]), firms[1].firm.id),
        shared,
    ]
    assert every.numbers["rows"] == 8
    assert (every.findings.opened, every.findings.seen_again) == (1, 2)

    again = later(job(), firm_id=firms[1].firm.id)
    assert (again.findings.opened, again.findings.resolved) == (0, 0)


def test_a_firm_is_unknown_or_suspended(later, job, world):
    suspended = world.firm(status="suspended")
    with pytest.raises(OptionsError, match="is suspended"):
        later(job(), firm_id=suspended.id)
    with pytest.raises(OptionsError, match="does not exist"):
        later(job(), firm_id=999_999)


def test_a_firm_without_any_key_is_a_setting_error(later, s3, files):
    files.version()
    keyless = FieldEncryption(LocalKms(SANDBOX_MASTER_KEY), "")
    with pytest.raises(SettingError, match="default_firm_kms_key_id"):
        later(ReconcileS3(Store(s3.client), keyless))


def test_buckets_are_learnt_from_rows_that_stay_unmatched(later, job, records, files, s3, encryption):
    """The oldest and newest version name two buckets; a third is named by the middle only."""
    others = [f"{s3.name}-{suffix}" for suffix in ("archive", "cold")]
    for name in others:
        s3.client.create_bucket(Bucket=name)
    places = [Files(files.firm, s3, bucket) for bucket in (others[0], others[1], s3.name)]
    missing = []
    for place in places:
        place.versions(30)
        missing.append(place.version(there=False))
        place.versions(3)
    encryption.kms.opened = 0

    outcome = later(job())

    assert [row[1] for row in findings(records)] == [subject(version) for version in missing]
    assert outcome.numbers["buckets"] == 3
    # 2 samples, 1 bucket learnt from an unmatched row, 3 findings of 2 fields each
    assert encryption.kms.opened <= 2 + 1 + 3 * 2
    for name in others:
        for entry in s3.client.list_objects_v2(Bucket=name)["Contents"]:
            s3.client.delete_object(Bucket=name, Key=entry["Key"])
        s3.client.delete_bucket(Bucket=name)


def test_a_bucket_of_the_settings_holds_orphans_only(runner, job, records, files, s3):
    files.version()
    other = f"{s3.name}-old"
    s3.client.create_bucket(Bucket=other)
    s3.client.put_object(Bucket=other, Key=f"{CANARY}/forgotten.pdf", Body=b"x")
    runner = runner.with_settings(s3_orphan_grace_hours=0, s3_buckets=f" {other}, ")
    runner.now = datetime.now(UTC) + timedelta(minutes=1)
    runner(job())
    assert findings(records) == [("orphan_object", orphan(other, f"{CANARY}/forgotten.pdf"), None)]
    runner(job(), firm_id=files.firm.id)  # did not list that bucket: resolves nothing
    assert len(findings(records)) == 1
    s3.client.delete_object(Bucket=other, Key=f"{CANARY}/forgotten.pdf")
    runner(job())
    assert findings(records) == []
    s3.client.delete_bucket(Bucket=other)


# -- guards ------------------------------------------------------------------------------------------------------------


def test_an_empty_listing_stops_the_run_before_any_finding(later, job, records, files, s3, written):
    files.versions(3)
    keep = files.version(there=False)
    later(job())
    assert findings(records) == [("missing_object", subject(keep), files.firm.id)]
    for entry in s3.client.list_objects_v2(Bucket=s3.name)["Contents"]:
        s3.client.delete_object(Bucket=s3.name, Key=entry["Key"])

    before = written()
    with pytest.raises(ImplausibleError, match=f"bucket {s3.name}: the listing is empty"):
        later(job())
    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}
    assert findings(records) == [("missing_object", subject(keep), files.firm.id)]


def test_a_short_listing_stops_the_run_unless_the_share_is_lowered(later, job, records, files):
    files.versions(4)
    files.versions(8, there=False)
    with pytest.raises(ImplausibleError, match="lower \\[cp_ops\\] s3_min_listing_share"):
        later(job())
    assert findings(records) == []
    trusting = later.with_settings(s3_orphan_grace_hours=0, s3_min_listing_share=0.3)
    trusting(job())
    assert len(findings(records)) == 8


def test_a_wrong_master_key_is_an_error_of_the_run(later, s3, records, files):
    files.versions(12)
    wrong = FieldEncryption(LocalKms("not the application's"), SANDBOX_DEFAULT_KEY_ID)
    with pytest.raises(ImplausibleError, match=r"none of .* can be decrypted"):
        later(ReconcileS3(Store(s3.client), wrong))
    assert findings(records) == []


def test_a_bucket_that_does_not_exist_is_an_error_that_names_bucket_and_row(later, job, records, files, s3):
    files.versions(2)
    stray = files.version(there=False)
    other = Files(files.firm, s3, "no-such-bucket-here").version(there=False)
    with pytest.raises(
        RemoteRefusedError, match=rf"no-such-bucket-here.*NoSuchBucket.*documents_versions:{other.id}"
    ):
        later(job())
    assert findings(records) == []
    assert stray.id != other.id


def test_access_denied_is_an_error_of_the_run(later, encryption, records, world, tmp_path_factory):
    """A real endpoint that enforces IAM: the reader's user has no policy at all."""
    import urllib.request

    import boto3

    server = S3Server(tmp_path_factory.mktemp("guarded-s3"), dies_with_parent=True)
    with server:
        admin = server.client()
        admin.create_bucket(Bucket="guarded")
        iam = boto3.client(
            "iam", endpoint_url=server.endpoint_url, region_name="us-east-1",
            aws_access_key_id="x", aws_secret_access_key="x",
        )  # fmt: skip
        iam.create_user(UserName="nobody")
        key = iam.create_access_key(UserName="nobody")["AccessKey"]

        class Place:
            client, name = admin, "guarded"

        Files(world.firm(), Place).versions(3)
        urllib.request.urlopen(
            urllib.request.Request(
                f"{server.endpoint_url}/moto-api/reset-auth",
                data=b"0",
                method="POST",
                headers={"Content-Type": "text/plain"},
            )
        )
        denied = boto3.client(
            "s3", endpoint_url=server.endpoint_url, region_name="us-east-1",
            aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"],
            config=boto3.session.Config(s3={"addressing_style": "path"}),
        )  # fmt: skip
        with pytest.raises(RemoteRefusedError, match="bucket guarded: access denied"):
            later(ReconcileS3(Store(denied), encryption))
    assert findings(records) == []
    assert later.last.findings.opened == 0


# -- the record --------------------------------------------------------------------------------------------------------


def test_the_second_run_writes_only_its_outcome(later, job, files, written):
    files.versions(2)
    files.version(there=False)
    files.put(f"{CANARY}/left-over.pdf")
    later(job(), deep=True)
    before = written()
    outcome = later(job(), deep=True)
    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}
    assert (outcome.planned, outcome.done, outcome.findings.seen_again) == (0, 0, 2)


def test_a_dry_run_plans_the_same_and_writes_only_its_outcome(later, job, files, written):
    files.versions(2)
    files.version(there=False)
    files.put(f"{CANARY}/left-over.pdf")
    before = written()
    preview = later(job(), dry_run=True)
    assert {table for table, rows in written().items() if rows != before.get(table, 0)} == {"cp_ops.job_run"}
    assert (preview.planned, preview.done) == (2, 0)
    assert preview.planned_kinds == {"open_missing_object": 1, "open_orphan_object": 1}
    real = later(job())
    assert (real.plan_sha256, real.planned_kinds, real.numbers) == (
        preview.plan_sha256, preview.planned_kinds, preview.numbers,
    )  # fmt: skip


def test_each_new_finding_and_each_eventful_run_leaves_one_audit_event(later, job, owner, files):
    files.versions(2)
    missing = files.version(there=False)
    later(job())
    later(job())
    events = owner.execute(
        "SELECT firm_id, category, action, severity, target_model, target_id FROM firm_audit_events ORDER BY id"
    ).fetchall()
    assert events == [
        (files.firm.id, "SYSTEM", "reconcile_s3.finding", "CRITICAL", "documents_versions", str(missing.id)),
        (files.firm.id, "SYSTEM", "reconcile_s3.run", "INFO", "firm.Firm", str(files.firm.id)),
    ]


def test_no_objects_key_gets_into_records_logs_or_errors(later, job, records, files, caplog):
    caplog.set_level(logging.DEBUG, logger="cp_ops")
    files.versions(2)
    files.version(there=False)
    files.version(size=1)
    files.version(there=False, key_id="another")
    files.version().update(s3_fingerprint="1" * 64)
    files.put(f"{CANARY}/left-over.pdf")
    outcome = later(job(), deep=True)
    for table in ("cp_ops.job_run", "cp_ops.finding", "firm_audit_events"):
        text = json.dumps(records.execute(f"SELECT to_jsonb(t) FROM {table} AS t").fetchall())
        assert "reconcile_s3" in text
        assert CANARY not in text
    assert "reconciled:" in caplog.text
    assert CANARY not in caplog.text
    assert CANARY not in json.dumps(outcome.as_dict())


def test_nothing_is_written_to_s3(later, job, files, s3):
    """Also not the temporary tables' names into the application's schema."""
    files.versions(2)
    files.put(f"{CANARY}/left-over.pdf")
    operations = []
    s3.client.meta.events.register("before-call.s3", lambda model, **_: operations.append(model.name))
    later(job(), deep=True)
    assert set(operations) <= {"ListObjectsV2", "ListObjectVersions", "GetObjectAttributes"}


def test_a_run_with_nothing_to_do_is_a_handful_of_statements(later, job, world):
    world.firm()
    outcome = later(job())
    assert outcome.remote_calls == 0
    assert outcome.planned == 0


# -- size --------------------------------------------------------------------------------------------------------------


def test_three_thousand_objects_take_three_pages(later, job, owner, files, s3, encryption, records):
    """Each page of 1,000 is one call, and rows that match cost no decryption."""
    keys = [f"{CANARY}/{number:05d}.pdf" for number in range(3_000)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(files.put, keys))
    folder = files.client.folder()
    document = files.firm.document(client=files.client, folder=folder)
    template = StoredFile(files.bucket, keys[0], size=7)
    first = document.version(template)
    # 2,999 more rows with the first one's ciphertext: only their fingerprints are looked at
    owner.execute(
        """
        INSERT INTO documents_versions (firm_id, document_id, version_number, change_summary, file_type, file_size_bytes,
            checksum, virus_scan_status, virus_scan_result_detail, s3_key, s3_bucket, s3_fingerprint, created_at)
        SELECT v.firm_id, v.document_id, n + 1, '', 'pdf', 7, '', 'clean', '', v.s3_key, v.s3_bucket,
               (%s::text[])[n + 1], v.created_at
        FROM documents_versions v, generate_series(1, 2999) n WHERE v.id = %s
        """,
        ([s3_fingerprint(SANDBOX_DEFAULT_KEY_ID, files.bucket, key) for key in keys], first.id),
    )
    encryption.kms.opened = 0
    outcome = later(job())
    assert findings(records) == []
    assert (outcome.numbers["rows"], outcome.numbers["matched"], outcome.numbers["objects"]) == (
        3_000,
        3_000,
        3_000,
    )
    assert outcome.remote_calls == 3
    assert encryption.kms.opened == 2
    for page in range(0, 3_000, 1_000):
        s3.client.delete_objects(
            Bucket=s3.name, Delete={"Objects": [{"Key": key} for key in keys[page : page + 1_000]]}
        )


def test_listing_grows_no_memory(later, encryption, files, records):
    """20,000 objects pass through the worker page by page."""
    traced = []
    young = datetime.now(UTC) + timedelta(days=1)

    class LongListing:
        calls = 0

        def pages(self, bucket):
            for page in range(20):
                self.calls += 1
                yield [
                    StoredObject(f"{CANARY}/{page}/{number}-{'x' * 400}.pdf", 7, young, has_sha256=False)
                    for number in range(1_000)
                ]
                traced.append(tracemalloc.get_traced_memory()[0])

        def look_up(self, bucket, key):
            return Presence(present=False)

    missing = files.version(there=False)
    tracemalloc.start()
    try:
        outcome = later(ReconcileS3(LongListing(), encryption))
    finally:
        tracemalloc.stop()
    assert findings(records) == [("missing_object", subject(missing), files.firm.id)]
    assert outcome.numbers["objects"] == 20_000
    assert max(traced[3:]) - traced[2] < 300_000  # bytes; one page's keys alone are about 450,000
