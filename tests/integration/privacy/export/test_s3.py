"""Archives that go to S3."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from cp_ops.hooks.s3 import S3
from cp_ops.privacy.export.archive import ArchiveVerificationError
from cp_ops.privacy.export.job import ExportUserData
from cp_ops.runtime.errors import RemoteRefusedError


@pytest.fixture
def store(s3):
    return S3(client=s3.client)


def test_an_archive_in_s3_is_encrypted_and_the_same_as_in_a_folder(portal, runner, export, store, s3):
    in_folder = export(portal.user)
    outcome = runner(ExportUserData(store), user_id=portal.user.id, output_dir=f"s3://{s3.name}/requests/")
    uri = outcome.numbers["archive"]
    prefix = f"s3://{s3.name}/requests/user-{portal.user.id}-export-"
    assert uri.startswith(prefix)
    stored = s3.client.get_object(Bucket=s3.name, Key=uri.removeprefix(f"s3://{s3.name}/"))
    assert stored["ServerSideEncryption"] == "AES256"
    assert stored["Body"].read() == in_folder.data
    assert outcome.remote_calls >= 3


def test_two_exports_to_s3_in_one_second_do_not_collide(world, runner, store, s3):
    user = world.firm().user()
    runner.now = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    for _ in range(2):
        runner(ExportUserData(store), user_id=user.id, output_dir=f"s3://{s3.name}")
    assert s3.client.list_objects_v2(Bucket=s3.name)["KeyCount"] == 2


def test_an_object_that_is_there_is_never_replaced(store, s3):
    s3.client.put_object(Bucket=s3.name, Key="taken.zip", Body=b"somebody else's")
    with pytest.raises(RemoteRefusedError, match="has an object of that name already"):
        store.put(s3.name, "taken.zip", io.BytesIO(b"mine"))
    assert s3.client.get_object(Bucket=s3.name, Key="taken.zip")["Body"].read() == b"somebody else's"


def test_a_bucket_that_is_not_there_fails_and_no_archive_is_said_to_be_anywhere(world, runner, store):
    user = world.firm().user()
    with pytest.raises(RemoteRefusedError, match="bucket no-such-bucket"):
        runner(ExportUserData(store), user_id=user.id, output_dir="s3://no-such-bucket/x")
    assert "archive" not in runner.last.numbers


def test_a_store_that_gives_back_other_bytes_is_not_believed(world, runner, store, s3, monkeypatch):
    user = world.firm().user()
    monkeypatch.setattr(store, "read", lambda bucket, key: iter([b"damaged"]))
    with pytest.raises(ArchiveVerificationError, match="gave back other bytes than it was sent"):
        runner(ExportUserData(store), user_id=user.id, output_dir=f"s3://{s3.name}")
    assert "archive" not in runner.last.numbers


def test_deleting_takes_every_version_and_delete_marker_of_a_key_and_no_other(store, s3):
    s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        s3.client.put_object(Bucket=s3.name, Key="a", Body=body)
    s3.client.put_object(Bucket=s3.name, Key="ab", Body=b"neighbour")
    s3.client.delete_object(Bucket=s3.name, Key="a")
    assert sum(store.delete_versions(s3.name, key) for key in ("a", "never-was")) == 3
    assert store.delete_versions(s3.name, "a") == 0
    left = s3.client.list_object_versions(Bucket=s3.name)
    assert [entry["Key"] for entry in left["Versions"]] == ["ab"]
    assert not left.get("DeleteMarkers")
