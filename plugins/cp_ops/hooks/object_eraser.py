"""Delete S3 objects for good, with all their versions."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import BotoCoreError, ClientError

from cp_ops.hooks.object_store import aws_client
from cp_ops.runtime.errors import RemoteRefusedError, translate

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 1_000
"""Keys per DeleteObjects call: S3 takes no more."""


class S3ObjectEraser:
    """Delete every version of an object; needs s3:ListBucketVersions, s3:DeleteObject and s3:DeleteObjectVersion.

    A bucket without versioning has one version, ``null``. An object under S3 Object Lock cannot be deleted: an error.

    :param conn_id: an Airflow connection of type aws.
    """

    def __init__(self, conn_id: str = "cp_s3") -> None:
        self._conn_id = conn_id
        self.calls = 0

    @cached_property
    def client(self) -> Any:
        """The boto3 client.

        :raises ConnectionInvalidError: when the connection is not defined.
        """
        return aws_client(
            S3Hook, self._conn_id, "with the right to delete versions of ConsultantPro's objects"
        )

    def delete_versions(self, bucket: str, key: str) -> int:
        """Delete every version and delete marker of one key.

        :raises RemoteRefusedError: when S3 keeps any of them.
        """
        deleted = 0
        try:
            versions = list(self._versions(bucket, key))
            for start in range(0, len(versions), BATCH):
                batch = versions[start : start + BATCH]
                self.calls += 1
                answer = self.client.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
                if kept := answer.get("Errors", []):
                    codes = ", ".join(sorted({str(error.get("Code")) for error in kept}))
                    raise RemoteRefusedError(
                        f"bucket {bucket}: {len(kept)} versions were not deleted ({codes})"
                    )
                deleted += len(batch)
        except (BotoCoreError, ClientError) as error:
            raise translate(error, doing=f"bucket {bucket}") from None
        return deleted

    def _versions(self, bucket: str, key: str) -> Iterator[dict[str, str]]:
        """List the versions of one key; keys that only start with it come after it and end the search."""
        marker: dict[str, str] = {}
        while True:
            self.calls += 1
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
