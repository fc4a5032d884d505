"""What reconcile_s3 finds, and what time does to it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from sandbox.world.documents import StoredFile
from tests.integration.documents.reconciliation.documents_world import (
    CANARY,
    details,
    findings,
    orphan,
    subject,
)


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
