"""Export everything that the database holds about one user (GDPR art. 15 and 20, CCPA).

One ZIP archive with JSON Lines and CSV per table, the metadata of documents, a README for the person and a
`manifest.json` that lists every place that was searched with its row count, also the empty ones, and the SHA-256 of
every file. All of it is read from one snapshot; the archive is read again and held against its manifest before it is
handed over. The same data gives the same bytes.

- Rows about the user, and rows of the clients whose portal the user has, without other people's part in them.
- What the user did to other people's rows comes as a reference: table, id, column, date.
- An address leads to rows in the user's own firms only, and only if no other account bears it.
- Passwords, tokens, object keys and internal notes are in no export; the manifest names the columns.
- Foreign keys to people that the personal-data map does not know are listed as `unmapped` and warned about.

`output_dir` is a folder of the worker (absolute path; the file is readable by the worker's account only) or
`s3://bucket/prefix` (encrypted at rest, connection `cp_s3`). It has no default: a worker's current directory is nowhere
in particular. The outcome's `numbers.archive` says where the archive is. Each firm of the user gets a DATA_ACCESS audit
event, recorded before the archive can be seen. A dry run counts and writes nothing.

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
