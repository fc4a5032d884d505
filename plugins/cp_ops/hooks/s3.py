"""S3, through the amazon provider's hook and connection.

One client for every role that `cp_ops.runtime.object_store` describes. What a job may do is for its connection's rights to
say: a deployment can give the jobs that only read a connection that may not write.
"""

from __future__ import annotations

import base64
import binascii
import threading
from contextlib import contextmanager
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import BotoCoreError, ClientError

from cp_ops.hooks.aws import aws_client
from cp_ops.runtime.errors import RemoteRefusedError, translate
from cp_ops.runtime.object_store import Presence, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 20
"""Bytes that are read of an object at a time."""
PAGE = 1_000
"""Keys per ListObjectsV2 or DeleteObjects call: S3 gives and takes no more."""
VERSIONS_PER_LOOK_UP = 50
"""Newest versions and delete markers that a look-up of one key sees."""
NOT_THERE = frozenset({"404", "NoSuchKey", "NotFound"})
BUCKETS = "pointing at the account with ConsultantPro's buckets"
"""What the connection is for, in the message that it is missing."""


class S3:
    """The buckets that a connection reaches. Errors name the bucket, never a key.

    What is called needs these rights:

    - `pages`, `look_up`: s3:ListBucket, s3:ListBucketVersions
    - `sha256`: s3:GetObject, s3:GetObjectAttributes
    - `put`, `read`: s3:PutObject, s3:GetObject, and what `delete_versions` needs
    - `delete_versions`: s3:ListBucketVersions, s3:DeleteObject, s3:DeleteObjectVersion

    Throttling and 5xx answers are retried by botocore (standard mode, five attempts) unless the connection's
    `config_kwargs` say otherwise. Methods may be called from several threads.

    :param conn_id: an Airflow connection of type aws; it is looked up with the first call.
    :param kms_key_id: KMS key for what is written; without it S3 encrypts with its own keys (AES256).
    :param purpose: what the connection is for, in the message that it is missing.
    :param client: a boto3 client to use instead of the connection's.
    """

    def __init__(
        self,
        conn_id: str = "cp_s3",
        *,
        kms_key_id: str | None = None,
        purpose: str = BUCKETS,
        client: Any = None,
    ) -> None:
        self.calls = 0
        self._conn_id = conn_id
        self._kms_key_id = kms_key_id
        self._purpose = purpose
        self._given_client = client
        self._counting = threading.Lock()

    @cached_property
    def client(self) -> Any:
        """The boto3 client.

        :raises ConnectionMissingError: when the connection is not defined, or cannot be read.
        """
        return self._given_client or aws_client(S3Hook, self._conn_id, self._purpose)

    # -- reading -------------------------------------------------------------------------------------------------

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
        """Give the SHA-256 of an object's whole content, as S3 keeps it.

        :return: None for a multipart upload's checksum of checksums, and for an object that is gone.
        """
        with self._calling(bucket):
            try:
                answer = self.client.get_object_attributes(
                    Bucket=bucket, Key=key, ObjectAttributes=["Checksum"]
                )
            except ClientError as error:
                if _code(error) in NOT_THERE:
                    return None
                raise
        checksum = answer.get("Checksum", {})
        return full_object_sha256(checksum.get("ChecksumSHA256"), checksum.get("ChecksumType"))

    def read(self, bucket: str, key: str) -> Iterator[bytes]:
        """Read an object in blocks."""
        with self._calling(bucket):
            body = self.client.get_object(Bucket=bucket, Key=key)["Body"]
            yield from body.iter_chunks(BLOCK)

    # -- writing -------------------------------------------------------------------------------------------------

    def put(self, bucket: str, key: str, body: IO[bytes]) -> None:
        """Write a new object, encrypted at rest; one that is there already is never replaced.

        :raises RemoteRefusedError: when it is there already, or the store does not say that it encrypts.
        """
        encryption = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._kms_key_id}
            if self._kms_key_id
            else {"ServerSideEncryption": "AES256"}
        )
        if self._exists(bucket, key):
            raise RemoteRefusedError(f"bucket {bucket} has an object of that name already")
        with self._calling(bucket):
            self.client.upload_fileobj(body, bucket, key, ExtraArgs=encryption)
        with self._calling(bucket):
            stored = self.client.head_object(Bucket=bucket, Key=key)
        # A store that ignores the header takes the object in clear, without an error.
        if stored.get("ServerSideEncryption") != encryption["ServerSideEncryption"]:
            self.delete_versions(bucket, key)
            raise RemoteRefusedError(
                f"bucket {bucket} does not encrypt what it is given: the object was removed"
            )

    def delete_versions(self, bucket: str, key: str) -> int:
        """Delete every version and delete marker of one key; gives how many there were.

        A bucket without versioning has one version, ``null``. A key that is not there is no error, so that deleting
        again converges.

        :raises RemoteRefusedError: when S3 keeps any of them, such as those under an object lock.
        """
        # All are listed before the first goes: a listing that is read while it shrinks can skip some.
        versions = list(self._versions(bucket, key))
        for start in range(0, len(versions), PAGE):
            batch = versions[start : start + PAGE]
            with self._calling(bucket):
                answer = self.client.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
            if kept := answer.get("Errors"):
                codes = ", ".join(sorted({str(error.get("Code")) for error in kept}))
                raise RemoteRefusedError(f"bucket {bucket}: {len(kept)} versions were not deleted ({codes})")
        return len(versions)

    def _versions(self, bucket: str, key: str) -> Iterator[dict[str, str]]:
        """List the versions of one key; keys that only start with it come after it and end the search."""
        marker: dict[str, str] = {}
        while True:
            with self._calling(bucket):
                page = self.client.list_object_versions(Bucket=bucket, Prefix=key, **marker)
            entries = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            own = [entry for entry in entries if entry["Key"] == key]
            yield from ({"Key": key, "VersionId": entry["VersionId"]} for entry in own)
            if not page.get("IsTruncated") or not own:
                return
            marker = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page.get("NextVersionIdMarker", ""),
            }

    def _exists(self, bucket: str, key: str) -> bool:
        with self._calling(bucket):
            try:
                self.client.head_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if _code(error) in NOT_THERE:
                    return False
                raise
        return True

    @contextmanager
    def _calling(self, bucket: str) -> Iterator[None]:
        with self._counting:
            self.calls += 1
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise translate(error, doing=f"bucket {bucket}") from None
        except Exception as error:
            # An upload in parts fails with errors of boto3 and s3transfer, which have no base in common.
            if type(error).__module__.startswith(("boto3", "s3transfer")):
                raise RemoteRefusedError(f"bucket {bucket}: upload failed ({type(error).__name__})") from None
            raise


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


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
