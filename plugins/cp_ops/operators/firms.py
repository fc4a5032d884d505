"""Operators of firms."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from cp_ops.firms.provisioning.options import ProvisionFirmOptions
from cp_ops.operators.base import JobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from cp_ops.firms.provisioning.job import ProvisionFirm
    from cp_ops.runtime.settings import Settings


class ProvisionFirmOperator(JobOperator):
    """Bring a new firm into the application, or verify and repair one."""

    job = "cp_ops.firms.provisioning.job:ProvisionFirm"
    command = "provision_firm"
    options = ProvisionFirmOptions

    @override
    def build(self, job: type[ProvisionFirm], context: Context, settings: Settings) -> ProvisionFirm:
        from cp_ops.hooks.secrets import connection_password

        return job(partial(connection_password, named_by="admin_password_ref"))
