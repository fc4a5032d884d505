"""Operators of privacy and retention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.operators.base import JobOperator
from cp_ops.privacy.export.job import ExportUserData
from cp_ops.privacy.retention.job import ExecuteRetentionPolicies
from cp_ops.privacy.webhook_cleanup.job import CleanupWebhookEvents

if TYPE_CHECKING:
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.settings import Settings


class CleanupWebhookEventsOperator(JobOperator):
    """Delete processed webhook events that are older than the retention."""

    job_class = CleanupWebhookEvents


class ExportUserDataOperator(JobOperator):
    """Export what the database holds about one user.

    :param aws_conn_id: connection for archives that go to S3.
    :param s3_kms_key_id: KMS key for those archives; without it S3 encrypts with its own keys (AES256).
    """

    job_class = ExportUserData

    def __init__(
        self, *, aws_conn_id: str = "cp_s3", s3_kms_key_id: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id
        self.s3_kms_key_id = s3_kms_key_id

    def job(self, settings: Settings) -> ExportUserData:  # noqa: ARG002 - the base's signature
        """Build the job with the object store."""
        from cp_ops.hooks.object_writer import S3ObjectWriter

        return ExportUserData(S3ObjectWriter(self.aws_conn_id, kms_key_id=self.s3_kms_key_id))


class ExecuteRetentionPoliciesOperator(JobOperator):
    """Carry out the firms' retention policies.

    :param aws_conn_id: connection for deleting documents' objects.
    :param kms_conn_id: connection with the local master key, where the application encrypts with one.
    """

    job_class = ExecuteRetentionPolicies

    def __init__(self, *, aws_conn_id: str = "cp_s3", kms_conn_id: str = "cp_kms", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.aws_conn_id = aws_conn_id
        self.kms_conn_id = kms_conn_id

    def job(self, settings: Settings) -> ExecuteRetentionPolicies:
        """Build the job with the object store; the key is asked for once an object is to be deleted."""
        from functools import cache

        from cp_ops.hooks.kms import field_encryption
        from cp_ops.hooks.object_writer import S3ObjectWriter

        @cache
        def encryption() -> FieldEncryption:
            return field_encryption(settings, kms_conn_id=self.kms_conn_id, aws_conn_id=self.aws_conn_id)

        return ExecuteRetentionPolicies(S3ObjectWriter(self.aws_conn_id), encryption)
