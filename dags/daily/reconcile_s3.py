"""Compare document versions with the S3 buckets both ways and report what does not match.

Findings, opened once and resolved when gone:

- `missing_object`: a version's object is not in its bucket; details say whether a delete marker hides it.
- `size_mismatch`: the object has another size than the version.
- `checksum_mismatch` (only with `deep`): the object's SHA-256, where S3 keeps one, is not the version's.
- `orphan_object`: an object that no version and no document of any firm names, older than a grace period
  (setting `s3_orphan_grace_hours`).
- `unreadable_row`: a version whose location cannot be decrypted or is empty, or whose stored fingerprint is another one's.

Nothing is deleted or changed, neither in S3 nor in the application's tables. Buckets are learnt from the rows and listed in
pages of 1,000; objects and rows are matched by fingerprint, and only what does not match is decrypted. An empty or
implausibly short listing, and a bucket that is missing or denies access, stop the run before any finding is opened or
resolved. Findings, logs and audit events hold fingerprints, never an object's key; an orphan's is the SHA-256 of
`:bucket:key`, so whoever may list the bucket can find it.

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
