"""Remove the package's own old records.

### What it does

The job deletes old finished runs (`cp_ops.job_run`) and old resolved findings (`cp_ops.finding`), in batches. Setting
`run_retention_days` (400) says how old.

Open findings and running runs stay, however old they are. The application tables are not touched. Mails are not
touched either, because `cp_ops_deliver_mail` removes their text and addresses by itself.

### When it runs

Every day at 05:30 in the time zone of setting `timezone`.

### Trigger it

    airflow dags trigger cp_ops_housekeeping --conf '{"dry_run": true}'
"""

from __future__ import annotations

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.upkeep import HousekeepingOperator
from cp_ops.runtime.options import JobOptions

with ops_dag(
    "cp_ops_housekeeping",
    schedule="30 5 * * *",
    options=JobOptions,
    doc_md=__doc__,
    tags=[Tag.SYSTEM],
):
    HousekeepingOperator(task_id="cp_ops_housekeeping")
