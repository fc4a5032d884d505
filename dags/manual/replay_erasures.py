"""Erase again, after a backup was restored, what had been erased since.

Reads the journal of executed erasures (setting `erasure_journal`, a file that is backed up apart from the database;
beside it the journal in the database itself) and erases whatever of it is back. What is still erased is left alone, so
the DAG may be run at any time. Restore the backup, run `cp_ops_migrate` if it is due, run this, then let people in.

    airflow dags trigger replay_erasures --conf '{"dry_run": true}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.erasure import ReplayErasuresOperator
from cp_ops.privacy.erasure_replay import ReplayErasuresOptions

with ops_dag(
    "replay_erasures",
    schedule=None,
    options=ReplayErasuresOptions,
    doc_md=__doc__,
    tags=[Tag.SYSTEM, Tag.PRIVACY],
    timeout=timedelta(hours=6),
    allowed_run_types=["manual"],
):
    ReplayErasuresOperator(task_id="replay_erasures")
