"""Export everything that the database holds about one user (GDPR art. 15 and 20, CCPA).

### What it does

The job writes one ZIP archive with these parts:

- each table as JSON Lines and CSV
- the metadata of documents
- a README for the person
- `manifest.json`, which lists every place that was searched with its row count, also the empty places, and the
  SHA-256 of every file

All of it is read from one snapshot, and the same data gives the same bytes. The archive is read again and compared
with its manifest before it is handed over.

What the archive holds:

- It holds rows about the user, and rows of the clients whose portal the user has, without other people's part in
  them.
- What the user did to other people's rows comes as a reference. That is table, id, column and date.
- An address leads to rows in the user's own firms only, and only if no other account bears it.
- Passwords, tokens, object keys and internal notes are in no export. The manifest names their columns.

### When it runs

Only by hand.

### Options

`output_dir` is one of two things. It has no default, because the current directory of a worker is nowhere in
particular.

| `output_dir` | Where the archive goes |
|---|---|
| an absolute path | A folder of the worker. Only the worker's account can read the file. |
| `s3://bucket/prefix` | The bucket, encrypted at rest. |

`format` chooses JSON Lines, CSV, or both in the same archive. `dry_run` counts and writes nothing.

### What it reports

- The outcome's `numbers.archive` says where the archive is.
- Each firm of the user gets a DATA_ACCESS audit event, recorded before anybody can see the archive.
- Foreign keys to people that the personal-data map does not know are listed as `unmapped` and logged as a warning.
  Their rows are not exported.

### Before you start

Connection `cp_s3`, for an archive in S3.

### Trigger it

    airflow dags trigger export_user_data --conf '{"user_id": 456, "output_dir": "s3://privacy-exports/requests"}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.privacy import ExportUserDataOperator
from cp_ops.privacy.export.options import ExportUserDataOptions

with ops_dag(
    "export_user_data",
    schedule=None,
    options=ExportUserDataOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.PRIVACY],
    timeout=timedelta(hours=1),
    allowed_run_types=["manual"],
):
    ExportUserDataOperator(task_id="export_user_data")
