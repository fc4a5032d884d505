"""Remove the package's own old records.

Deletes finished runs (`cp_ops.job_run`) and resolved findings (`cp_ops.finding`) that are older than
`[cp_ops] run_retention_days` (400), in batches. Open findings and running runs stay, however old they are, and nothing
of the application is touched. Mails are not its business: the delivery forgets their text and addresses by itself.

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
