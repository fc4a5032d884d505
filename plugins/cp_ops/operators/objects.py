"""What the operators have in common whose jobs reach the objects of documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.operators.base import JobOperator

if TYPE_CHECKING:
    from cp_ops.hooks.s3 import S3
    from cp_ops.runtime.field_encryption import FieldEncryption
    from cp_ops.runtime.settings import Settings


class StoredObjectsOperator(JobOperator):
    """Base of the operators whose jobs look for documents' objects, or delete them.

    The application stores where an object is in encrypted columns: such a job needs S3 and the key.

    :param s3_conn_id: connection to S3, and to AWS KMS where kms_backend is aws.
    :param kms_conn_id: connection whose password is the application's LOCAL_KMS_MASTER_KEY.
    """

    def __init__(self, *, s3_conn_id: str = "cp_s3", kms_conn_id: str = "cp_kms", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.s3_conn_id = s3_conn_id
        self.kms_conn_id = kms_conn_id

    def objects(self, **purpose: str) -> S3:
        """Make the client of S3; its connection is looked up with the first call."""
        from cp_ops.hooks.s3 import S3

        return S3(self.s3_conn_id, **purpose)

    def encryption(self, settings: Settings) -> FieldEncryption:
        """Make what reads encrypted columns; a local key is looked up at once."""
        from cp_ops.hooks.kms import field_encryption

        return field_encryption(settings, kms_conn_id=self.kms_conn_id, aws_conn_id=self.s3_conn_id)
