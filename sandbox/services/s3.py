"""S3: a moto server with a process of its own; what it holds is in memory and ends with it."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from sandbox.service import ProcessService

if TYPE_CHECKING:
    from collections.abc import Sequence

REGION = "us-east-1"
_KEY_ID = "sandbox"
_SECRET = "sandbox-secret"  # noqa: S105  moto accepts any
_KEYS_PER_DELETE = 1000


class S3Server(ProcessService):
    """An S3 endpoint for any number of buckets, addressed by path."""

    name: ClassVar[str] = "s3"

    @property
    def endpoint_url(self) -> str:
        """The endpoint's URL."""
        return f"http://{self.host}:{self.port}"

    @override
    def command(self, port: int) -> Sequence[str]:
        return (sys.executable, "-m", "moto.server", "-H", self.host, "-p", str(port))

    @override
    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint_url}/moto-api/", timeout=2) as answer:  # noqa: S310
                return int(answer.status) == 200
        except (urllib.error.URLError, OSError):
            return False

    def client(self) -> Any:
        """Return a boto3 client of this endpoint."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id=_KEY_ID,
            aws_secret_access_key=_SECRET,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket with every version of every object in it."""
        client = self.client()
        for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
            entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
            for start in range(0, len(objects), _KEYS_PER_DELETE):
                client.delete_objects(
                    Bucket=name, Delete={"Objects": objects[start : start + _KEYS_PER_DELETE]}
                )
        client.delete_bucket(Bucket=name)

    def connection(self) -> dict[str, object]:
        """Return Airflow's connection to this endpoint, as its JSON form."""
        return {
            "conn_type": "aws",
            "login": _KEY_ID,
            "password": _SECRET,
            "extra": {
                "region_name": REGION,
                "endpoint_url": self.endpoint_url,
                "config_kwargs": {
                    "s3": {"addressing_style": "path"},
                    "signature_version": "s3v4",
                    "retries": {"mode": "standard", "max_attempts": 3},
                },
                "service_config": {"sts": {"endpoint_url": self.endpoint_url}},
            },
        }

    @override
    def environment(self) -> dict[str, str]:
        return {
            "AIRFLOW_CONN_CP_S3": json.dumps(self.connection()),
            "CP_OPS_S3_ENDPOINT": self.endpoint_url,
            "CP_OPS_S3_REGION": REGION,
            "CP_OPS_S3_KEY_ID": _KEY_ID,
            "CP_OPS_S3_SECRET": _SECRET,
        }
