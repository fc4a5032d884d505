"""Repeat the erasures that a restored backup has undone.

### What it does

The job reads the journal of executed erasures. It erases again whatever of it is back, once a line of the journal
says that the erasure was completed. What is still erased is left alone, so the DAG may be run at any time.

The journal is the file of setting `erasure_journal`, which is backed up apart from the database, and beside it the
journal in the database itself.

### When it runs

Only by hand, in this order after a backup was restored:

1. Restore the backup.
2. Run `cp_ops_migrate` if it is due.
3. Run this DAG.
4. Let people in.

### Options

`journal` replaces setting `erasure_journal` for this run. Without either, only the journal in the database is read,
and the restored backup may have lost entries of it.

### What it reports

| Entry | What follows |
|---|---|
| erased, and back | It is erased again. The request is marked completed, if the backup holds it as approved or begun and it is the one of the entry. |
| erased, and another row has the id now | The row is left alone. Finding `erased_id_in_use_again` says so, because a restored backup hands out ids again. |
| begun, and nothing says whether it was completed | Nothing is erased. Finding `erasure_end_unknown` names it. |
| under legal hold or another blocker of an erasure request | The entry fails, and the others go on. |

### Before you start

The connections of `execute_erasure_request`.

### Trigger it

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
