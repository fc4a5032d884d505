"""Operators of firms."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cp_ops.firms.provisioning.job import ProvisionFirm
from cp_ops.operators.base import JobOperator

if TYPE_CHECKING:
    from cp_ops.runtime.settings import Settings


class ProvisionFirmOperator(JobOperator):
    """Bring a new firm into the application, or verify and repair one."""

    job_class = ProvisionFirm

    def job(self, settings: Settings) -> ProvisionFirm:  # noqa: ARG002 - the base's signature
        """Build the job with access to Airflow's connections."""
        from cp_ops.hooks.secrets import connection_password

        return ProvisionFirm(partial(connection_password, named_by="admin_password_ref"))
