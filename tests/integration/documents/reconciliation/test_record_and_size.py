"""What a run leaves behind, and what it costs."""

from __future__ import annotations

import json
import logging
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from cp_ops.documents.reconciliation.job import ReconcileS3
from cp_ops.runtime.object_store import Presence, StoredObject
from sandbox.world.documents import StoredFile
from sandbox.world.encryption import SANDBOX_DEFAULT_KEY_ID, s3_fingerprint
from tests.integration.documents.reconciliation.documents_world import (
    CANARY,
    findings,
    subject,
)


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
