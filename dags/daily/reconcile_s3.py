"""Compare document versions with the S3 buckets both ways and report what does not match.

### What it does

The job lists the buckets in pages of 1,000 and matches their objects with the document versions by fingerprint. Only
what does not match is decrypted. Which buckets there are is read from the rows. Setting `s3_buckets` adds others, in
runs over all firms.

Nothing is deleted or changed, neither in S3 nor in the application tables.

### When it runs

Every day at 03:00 in the time zone of setting `timezone`.

### Options

- `deep` also compares checksums, with one more call for each object that has one. Its findings are opened and
  resolved by deep runs only.
- A run with `firm_id` compares that firm's versions. An object counts as an orphan only if no firm names it.

### What it reports

| Finding | Meaning |
|---|---|
| `missing_object` | The object of a version is not in its bucket. The details say whether a delete marker hides it. |
| `size_mismatch` | The object has another size than the version says. |
| `checksum_mismatch` (only with `deep`) | The SHA-256 that S3 keeps of the object is not the version's. |
| `orphan_object` | No version and no document of any firm names the object, and it is older than setting `s3_orphan_grace_hours`. |
| `unreadable_row` | The location of a version cannot be decrypted or is empty, or its stored fingerprint belongs to another location. |

A finding is opened once and resolved when it is gone. Findings, logs and audit events hold fingerprints and never the
key of an object. The fingerprint of an orphan is the SHA-256 of `:bucket:key`, so whoever may list the bucket can
find the object.

The run stops, and no finding is opened or resolved, in these cases:

- A bucket is missing or denies access.
- The listing of a bucket is empty although versions live there.
- A listing shows too few of at least ten known objects. Setting `s3_min_listing_share` says how few.
- None of at least ten locations can be decrypted.

### Before you start

- Connection `cp_s3`, for reading only. Connection `cp_kms` too, where setting `kms_backend` is local.
- What AWS must allow is in the docstring of `ReconcileS3Operator`.

### Trigger it

    airflow dags trigger reconcile_s3 --conf '{"firm_id": 123, "deep": true}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.documents.reconciliation.options import ReconcileS3Options
from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.documents import ReconcileS3Operator

with ops_dag(
    "reconcile_s3",
    schedule="0 3 * * *",
    options=ReconcileS3Options,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.DOCUMENTS],
    timeout=timedelta(hours=2),
):
    ReconcileS3Operator(task_id="reconcile_s3")
