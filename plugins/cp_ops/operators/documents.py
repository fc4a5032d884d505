"""Operators of documents and their objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from cp_ops.documents.reconciliation.options import ReconcileS3Options
from cp_ops.operators.objects import StoredObjectsOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from cp_ops.documents.reconciliation.job import ReconcileS3
    from cp_ops.runtime.settings import Settings


class ReconcileS3Operator(StoredObjectsOperator):
    """Compare document versions with the S3 buckets both ways and report what does not match.

    Connections, as JSON (``AIRFLOW_CONN_CP_S3``, ``AIRFLOW_CONN_CP_KMS`` or any secrets backend)::

        cp_s3   {"conn_type": "aws", "login": "<access key id>", "password": "<secret access key>",
                 "extra": {"region_name": "eu-west-1"}}
                or, with the role of the worker: {"conn_type": "aws", "extra": {"region_name": "eu-west-1",
                 "role_arn": "arn:aws:iam::123456789012:role/cp-ops-s3-reader"}}
        cp_kms  {"conn_type": "generic", "password": "<LOCAL_KMS_MASTER_KEY>"}, only where [cp_ops] kms_backend is local

    The role needs s3:ListBucket and s3:ListBucketVersions on the buckets; for deep runs s3:GetObject and
    s3:GetObjectAttributes on their objects; where kms_backend is aws, kms:Decrypt on the firms' keys. No right to
    write or delete.
    """

    job = "cp_ops.documents.reconciliation.job:ReconcileS3"
    command = "reconcile_s3"
    options = ReconcileS3Options

    @override
    def build(self, job: type[ReconcileS3], context: Context, settings: Settings) -> ReconcileS3:
        return job(self.objects(), self.encryption(settings))
