"""Erase again, after a backup was restored, what had been erased since.

Reads the journal of executed erasures (setting `erasure_journal`, a file that is backed up apart from the database;
beside it the journal in the database itself) and erases whatever of it is back, once a line says that it was done. What
is still erased is left alone, so the DAG may be run at any time. Restore the backup, run `cp_ops_migrate` if it is due,
run this, then let people in.

A restored backup hands out ids again: a row that was created after the erasure under its id is left alone, and a
finding says so. Another finding names an erasure that was begun and of which nothing says whether it was completed;
nothing is erased because of it. Legal holds and the other blockers of an erasure request fail their entry, and the
others go on. A request that the backup holds as approved or begun is marked completed, if it is the one of the entry.

    airflow dags trigger replay_erasures --conf '{"dry_run": true}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.erasure import ReplayErasuresOperator
from cp_ops.privacy.replay.options import ReplayErasuresOptions

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
