from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from sandbox.services.s3 import S3Server

if TYPE_CHECKING:
    from pathlib import Path


def test_each_test_has_an_empty_bucket_of_its_own(s3) -> None:
    assert s3.client.list_objects_v2(Bucket=s3.name)["KeyCount"] == 0
    s3.client.put_object(Bucket=s3.name, Key="a/b", Body=b"content")
    assert s3.client.get_object(Bucket=s3.name, Key="a/b")["Body"].read() == b"content"


def test_a_bucket_goes_with_all_versions_of_its_objects(s3_server: S3Server) -> None:
    client = s3_server.client()
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket="versioned", Key="k", Body=b"1")
    client.put_object(Bucket="versioned", Key="k", Body=b"2")
    client.delete_object(Bucket="versioned", Key="k")
    s3_server.delete_bucket("versioned")
    with pytest.raises(ClientError, match="404"):
        client.head_bucket(Bucket="versioned")


def test_airflows_hook_reads_the_bucket_through_the_connection(
    s3, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    monkeypatch.setenv("AIRFLOW_CONN_CP_S3", json.dumps(s3_server.connection()))
    s3.client.put_object(Bucket=s3.name, Key="k", Body=b"x")
    assert S3Hook(aws_conn_id="cp_s3").list_keys(bucket_name=s3.name) == ["k"]


def test_a_stopped_server_starts_again_empty(tmp_path: Path) -> None:
    server = S3Server(tmp_path, dies_with_parent=True)
    with server:
        server.client().create_bucket(Bucket="gone")
        assert server.status().running
    assert not server.status().running
