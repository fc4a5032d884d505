"""Bring schema cp_ops to the version that this package needs.

Trigger it once after installing and once after every upgrade of the package; the other DAGs say so when it is due.
It creates and changes only schema `cp_ops`, in one transaction, and does nothing when the schema is current.
The role of connection `cp_app` must be allowed to create schema `cp_ops`, or own it.

    airflow dags trigger cp_ops_migrate
"""

from __future__ import annotations

from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.upkeep import MigrateOperator

with ops_dag("cp_ops_migrate", schedule=None, options=None, doc_md=__doc__, tags=[Tag.SYSTEM]):
    MigrateOperator(task_id="cp_ops_migrate")
