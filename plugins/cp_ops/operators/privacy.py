"""Operators of privacy and retention. Those that erase a person's data are in `erasure`."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from cp_ops.operators.base import JobOperator
from cp_ops.operators.objects import StoredObjectsOperator
from cp_ops.privacy.export.options import ExportUserDataOptions
from cp_ops.privacy.retention.options import ExecuteRetentionPoliciesOptions
from cp_ops.privacy.webhook_cleanup.options import CleanupWebhookEventsOptions

if TYPE_CHECKING:
    from airflow.sdk import Context

    from cp_ops.privacy.export.job import ExportUserData
    from cp_ops.privacy.retention.job import ExecuteRetentionPolicies
    from cp_ops.runtime.settings import Settings


class CleanupWebhookEventsOperator(JobOperator):
    """Delete processed webhook events that are older than the retention."""

    job = "cp_ops.privacy.webhook_cleanup.job:CleanupWebhookEvents"
    command = "cleanup_webhook_events"
    options = CleanupWebhookEventsOptions


class ExportUserDataOperator(JobOperator):
    """Export what the database holds about one user.

    :param s3_conn_id: connection for archives that go to S3.
    :param s3_kms_key_id: KMS key for those archives; without it S3 encrypts with its own keys (AES256).
    """

    job = "cp_ops.privacy.export.job:ExportUserData"
    command = "export_user_data"
    options = ExportUserDataOptions

    def __init__(self, *, s3_conn_id: str = "cp_s3", s3_kms_key_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.s3_conn_id = s3_conn_id
        self.s3_kms_key_id = s3_kms_key_id

    @override
    def build(self, job: type[ExportUserData], context: Context, settings: Settings) -> ExportUserData:
        from cp_ops.hooks.s3 import S3

        return job(S3(self.s3_conn_id, kms_key_id=self.s3_kms_key_id))


class ExecuteRetentionPoliciesOperator(StoredObjectsOperator):
    """Carry out the firms' retention policies; objects of deleted documents are deleted, too."""

    job = "cp_ops.privacy.retention.job:ExecuteRetentionPolicies"
    command = "execute_retention_policies"
    options = ExecuteRetentionPoliciesOptions

    @override
    def build(
        self, job: type[ExecuteRetentionPolicies], context: Context, settings: Settings
    ) -> ExecuteRetentionPolicies:
        # The job asks for the key once it has an object to delete: a run without any needs none.
        return job(self.objects(), cache(partial(self.encryption, settings)))
