"""Bring schema cp_ops to the version that this package needs.

### What it does

The task creates and changes only schema `cp_ops`, in one transaction. It does nothing when the schema is current.

### When it runs

Only by hand. Trigger it once after installing and once after every upgrade of the package. The other DAGs fail and
say so while it is due.

### Before you start

The role of connection `cp_app` must be allowed to create schema `cp_ops`, or own it.

### Trigger it

    airflow dags trigger cp_ops_migrate
"""

from __future__ import annotations

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.upkeep import MigrateOperator

with ops_dag("cp_ops_migrate", schedule=None, options=None, doc_md=__doc__, tags=[Tag.SYSTEM]):
    MigrateOperator(task_id="cp_ops_migrate")
