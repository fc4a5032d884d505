"""Writing and deleting S3 objects, through the amazon provider's hook and connection.

Apart from `object_store`, which only reads: a deployment can give the reading jobs a connection that may not write.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import BotoCoreError, ClientError

from cp_ops.hooks.object_store import aws_client
from cp_ops.runtime.errors import RemoteRefusedError, translate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BLOCK = 1 << 20
PAGE = 1_000
"""Keys per DeleteObjects call: S3 takes no more."""
NOT_THERE = frozenset({"404", "NoSuchKey", "NotFound"})


class S3ObjectWriter:
    """Write, read back and delete objects; needs s3:PutObject, s3:GetObject, s3:DeleteObject,
    s3:DeleteObjectVersion and s3:ListBucketVersions.

    :param conn_id: an Airflow connection of type aws.
    :param kms_key_id: KMS key for what is written; without it S3 encrypts with its own keys (AES256).
    """  # noqa: D205

    def __init__(self, conn_id: str = "cp_s3", *, kms_key_id: str | None = None) -> None:
        self._conn_id = conn_id
        self._kms_key_id = kms_key_id
        self.calls = 0

    @cached_property
    def client(self) -> Any:
        """The boto3 client.

        :raises ConnectionInvalidError: when the connection is not defined.
        """
        return aws_client(S3Hook, self._conn_id, "pointing at the account with ConsultantPro's buckets")

    def put(self, bucket: str, key: str, body: IO[bytes]) -> None:
        """Write a new object, encrypted at rest; one that is there already is never replaced.

        :raises RemoteRefusedError: when it is there already, or the store does not say that it encrypts.
        """
        encryption = (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._kms_key_id}
            if self._kms_key_id
            else {"ServerSideEncryption": "AES256"}
        )
        with self._calling(bucket):
            if self._exists(bucket, key):
                raise RemoteRefusedError(f"bucket {bucket} has an object of that name already")
            self.client.upload_fileobj(body, bucket, key, ExtraArgs=encryption)
            stored = self.client.head_object(Bucket=bucket, Key=key)
        self.calls += 2
        if stored.get("ServerSideEncryption") != encryption["ServerSideEncryption"]:
            self.delete_versions(bucket, [key])
            raise RemoteRefusedError(
                f"bucket {bucket} does not encrypt what it is given: the object was removed"
            )

    def read(self, bucket: str, key: str) -> Iterator[bytes]:
        """Read an object in blocks."""
        with self._calling(bucket):
            body = self.client.get_object(Bucket=bucket, Key=key)["Body"]
            yield from body.iter_chunks(BLOCK)

    def delete_versions(self, bucket: str, keys: Sequence[str]) -> int:
        """Delete objects with all their versions and delete markers; gives how many of those there were.

        A key that is not there is not an error: deleting again converges.

        :raises RemoteRefusedError: when some could not be deleted, such as those under an object lock.
        """
        deleted = 0
        for key in keys:
            while versions := self._versions(bucket, key):
                with self._calling(bucket):
                    answer = self.client.delete_objects(
                        Bucket=bucket, Delete={"Objects": versions, "Quiet": True}
                    )
                if errors := answer.get("Errors"):
                    codes = ", ".join(sorted({error.get("Code", "?") for error in errors}))
                    raise RemoteRefusedError(f"bucket {bucket}: {len(errors)} versions not deleted ({codes})")
                deleted += len(versions)
        return deleted

    def _versions(self, bucket: str, key: str) -> list[dict[str, str]]:
        with self._calling(bucket):
            page = self.client.list_object_versions(Bucket=bucket, Prefix=key, MaxKeys=PAGE)
        return [
            {"Key": key, "VersionId": entry["VersionId"]}
            for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            if entry["Key"] == key
        ]

    def _exists(self, bucket: str, key: str) -> bool:
        try:
            self.client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code", "")) in NOT_THERE:
                return False
            raise
        return True

    @contextmanager
    def _calling(self, bucket: str) -> Iterator[None]:
        self.calls += 1
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise translate(error, doing=f"bucket {bucket}") from None
        except Exception as error:
            if type(error).__module__.startswith(("boto3", "s3transfer")):
                raise RemoteRefusedError(f"bucket {bucket}: upload failed ({type(error).__name__})") from None
            raise
