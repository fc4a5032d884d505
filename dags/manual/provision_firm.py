"""Provision a firm: tenant, administrator, baseline configuration.

Creates the firm (on trial), its administrator's account and membership, three project templates, three mail templates,
a default sales pipeline and default retention policies, in one transaction: everything is there afterwards, or nothing.

Never put a password into a run: Airflow keeps a run's configuration in clear. Without `admin_password_ref` the
administrator is mailed a link to choose a password, usable once and for a limited time. With it, the password of that
Airflow connection is hashed inside the task; the application's password rules apply.

The same request again verifies the firm and repairs what is missing; it changes nothing else, and sends a new
invitation when the last one ran out unused. A slug that belongs to another administrator's firm is an error.

    airflow dags trigger provision_firm --conf '{"name": "Acme Consulting", "slug": "acme-consulting", "admin_email": "admin@example.com", "timezone": "America/Los_Angeles"}'
"""

from __future__ import annotations

from datetime import timedelta

from cp_ops.firms.provisioning.options import ProvisionFirmOptions
from cp_ops.operators.dags import Tag, ops_dag
from cp_ops.operators.firms import ProvisionFirmOperator

with ops_dag(
    "provision_firm",
    schedule=None,
    options=ProvisionFirmOptions,
    doc_md=__doc__,
    tags=[Tag.COMMAND, Tag.FIRMS],
    timeout=timedelta(minutes=10),
    allowed_run_types=["manual"],
):
    ProvisionFirmOperator(task_id="provision_firm")
