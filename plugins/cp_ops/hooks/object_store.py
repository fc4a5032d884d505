"""S3, through the amazon provider's hook and connection."""

from __future__ import annotations

import base64
import binascii
import threading
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cp_ops.runtime.errors import ConnectionMissingError, translate
from cp_ops.runtime.object_store import Presence, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 1_000
"""Keys per ListObjectsV2 call: S3 gives no more."""
VERSIONS_PER_LOOK_UP = 50
"""Newest versions and delete markers that a look-up of one key sees."""


class S3ObjectStore:
    """Read S3 buckets; needs s3:ListBucket, s3:ListBucketVersions and, for checksums, s3:GetObject and
    s3:GetObjectAttributes. Never writes or deletes.

    Throttling and 5xx answers are retried by botocore (standard mode, five attempts) unless the connection's
    `config_kwargs` say otherwise.

    :param conn_id: an Airflow connection of type aws.
    """  # noqa: D205

    def __init__(self, conn_id: str = "cp_s3") -> None:
        self._conn_id = conn_id
        self._counting = threading.Lock()
        self.calls = 0

    @cached_property
    def client(self) -> Any:
        """The boto3 client.

        :raises ConnectionMissingError: when the connection is not defined, or cannot be read.
        """
        return aws_client(S3Hook, self._conn_id, "pointing at the account with ConsultantPro's buckets")

    def pages(self, bucket: str) -> Iterator[list[StoredObject]]:
        """List a bucket's current objects, page by page."""
        token: dict[str, str] = {}
        while True:
            with self._calling(bucket):
                page = self.client.list_objects_v2(Bucket=bucket, MaxKeys=PAGE, **token)
            yield [
                StoredObject(
                    entry["Key"],
                    entry["Size"],
                    entry["LastModified"],
                    "SHA256" in entry.get("ChecksumAlgorithm", ()),
                )
                for entry in page.get("Contents", ())
            ]
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def look_up(self, bucket: str, key: str) -> Presence:
        """Look for one key in one call: its name sorts first among those that start with it."""
        with self._calling(bucket):
            page = self.client.list_object_versions(Bucket=bucket, Prefix=key, MaxKeys=VERSIONS_PER_LOOK_UP)
        versions = [entry for entry in page.get("Versions", ()) if entry["Key"] == key]
        markers = [entry for entry in page.get("DeleteMarkers", ()) if entry["Key"] == key]
        return Presence(
            present=any(entry["IsLatest"] for entry in versions),
            delete_marker=any(entry["IsLatest"] for entry in markers),
            recoverable=bool(versions),
        )

    def sha256(self, bucket: str, key: str) -> str | None:
        """Give the SHA-256 of an object's whole content; None for a multipart upload's checksum of checksums, and for
        an object that is gone.
        """  # noqa: D205
        with self._calling(bucket):
            try:
                answer = self.client.get_object_attributes(
                    Bucket=bucket, Key=key, ObjectAttributes=["Checksum"]
                )
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
                    return None
                raise
        checksum = answer.get("Checksum", {})
        return full_object_sha256(checksum.get("ChecksumSHA256"), checksum.get("ChecksumType"))

    @contextmanager
    def _calling(self, bucket: str) -> Iterator[None]:
        with self._counting:
            self.calls += 1
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise translate(error, doing=f"bucket {bucket}") from None


def full_object_sha256(encoded: str | None, checksum_type: str | None) -> str | None:
    """Turn S3's base64 SHA-256 into hex; None when it is a composite of parts (``...-3``) or no SHA-256 at all.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html
    """
    if not encoded or checksum_type == "COMPOSITE" or "-" in encoded:
        return None
    try:
        digest = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == 32 else None  # noqa: PLR2004 - bytes of a SHA-256


def aws_client(hook_class: Any, conn_id: str, purpose: str, **kwargs: Any) -> Any:
    """Build a boto3 client from an Airflow connection of type aws, retrying in botocore's standard mode.

    :raises ConnectionMissingError: when the connection is not defined, or cannot be read: never ambient credentials by accident.
    """
    try:
        BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise ConnectionMissingError(conn_id, f"its type is aws, {purpose} (README, Connections)") from None
    hook = hook_class(aws_conn_id=conn_id, **kwargs)
    retries = Config(
        retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=10, read_timeout=30
    )
    return hook.get_client_type(region_name=hook.region_name, config=retries.merge(hook.config))
