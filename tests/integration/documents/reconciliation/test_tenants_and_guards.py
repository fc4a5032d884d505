"""Firms that share a bucket, and readings that are not believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cp_ops.documents.reconciliation.job import ReconcileS3
from cp_ops.runtime.errors import ImplausibleError, OptionsError, RemoteRefusedError, SettingError
from cp_ops.runtime.field_encryption import FieldEncryption, LocalKms
from sandbox.services.s3 import S3Server
from sandbox.world.encryption import SANDBOX_DEFAULT_KEY_ID, SANDBOX_MASTER_KEY
from tests.integration.documents.reconciliation.documents_world import (
    CANARY,
    Files,
    Store,
    findings,
    orphan,
    subject,
)


@pytest.fixture
def neighbours(world, s3):
    """Three firms in one bucket: one with the default key, one with its own, one suspended; each with a missing object."""
    firms = [
        Files(world.firm(), s3),
        Files(world.firm(kms_key_id="arn:aws:kms:eu-west-1:123456789012:key/7"), s3),
        Files(world.firm(status="suspended", kms_key_id="key-of-a-suspended-firm"), s3),
    ]
    for files in firms:
        files.versions(3)
    return firms, [files.version(there=False) for files in firms]


@pytest.mark.parametrize("guarded", [False, True], ids=["bypassing", "row_level_security"])
def test_firms_that_share_a_bucket_do_not_see_each_others_objects(
    guarded, later, job, records, neighbours, enable_row_level_security, s3
):
    firms, missing = neighbours
    files = firms[0]
    files.put(f"{CANARY}/left-over.pdf")
    if guarded:
        guarded_runner = enable_row_level_security()
        guarded_runner.settings, guarded_runner.now = later.settings, later.now
        later = guarded_runner

    one = later(job(), firm_id=files.firm.id)
    shared = ("orphan_object", orphan(s3.name, f"{CANARY}/left-over.pdf"), None)
    assert findings(records) == [("missing_object", subject(missing[0]), files.firm.id), shared]
    assert one.numbers["rows"] == 4

    every = later(job())
    assert findings(records) == [
        ("missing_object", subject(missing[0]), firms[0].firm.id),
        ("missing_object", subject(missing[1]), firms[1].firm.id),
        shared,
    ]
    assert every.numbers["rows"] == 8
    assert (every.findings.opened, every.findings.seen_again) == (1, 2)

    again = later(job(), firm_id=firms[1].firm.id)
    assert (again.findings.opened, again.findings.resolved) == (0, 0)


def test_a_firm_is_unknown_or_suspended(later, job, world):
    suspended = world.firm(status="suspended")
    with pytest.raises(OptionsError, match="is suspended"):
        later(job(), firm_id=suspended.id)
    with pytest.raises(OptionsError, match="does not exist"):
        later(job(), firm_id=999_999)


def test_a_firm_without_any_key_is_a_setting_error(later, s3, files):
    files.version()
    keyless = FieldEncryption(LocalKms(SANDBOX_MASTER_KEY), "")
    with pytest.raises(SettingError, match="default_firm_kms_key_id"):
        later(ReconcileS3(Store(s3.client), keyless))


def test_buckets_are_learnt_from_rows_that_stay_unmatched(later, job, records, files, s3, encryption):
    """The oldest and newest version name two buckets; a third is named by the middle only."""
    others = [f"{s3.name}-{suffix}" for suffix in ("archive", "cold")]
    for name in others:
        s3.client.create_bucket(Bucket=name)
    places = [Files(files.firm, s3, bucket) for bucket in (others[0], others[1], s3.name)]
    missing = []
    for place in places:
        place.versions(30)
        missing.append(place.version(there=False))
        place.versions(3)
    encryption.kms.opened = 0

    outcome = later(job())

    assert [row[1] for row in findings(records)] == [subject(version) for version in missing]
    assert outcome.numbers["buckets"] == 3
    # 2 samples, 1 bucket learnt from an unmatched row, 3 findings of 2 fields each
    assert encryption.kms.opened <= 2 + 1 + 3 * 2
    for name in others:
        for entry in s3.client.list_objects_v2(Bucket=name)["Contents"]:
            s3.client.delete_object(Bucket=name, Key=entry["Key"])
        s3.client.delete_bucket(Bucket=name)


def test_a_bucket_of_the_settings_holds_orphans_only(runner, job, records, files, s3):
    files.version()
    other = f"{s3.name}-old"
    s3.client.create_bucket(Bucket=other)
    s3.client.put_object(Bucket=other, Key=f"{CANARY}/forgotten.pdf", Body=b"x")
    runner = runner.with_settings(s3_orphan_grace_hours=0, s3_buckets=f" {other}, ")
    runner.now = datetime.now(UTC) + timedelta(minutes=1)
    runner(job())
    assert findings(records) == [("orphan_object", orphan(other, f"{CANARY}/forgotten.pdf"), None)]
    runner(job(), firm_id=files.firm.id)  # did not list that bucket: resolves nothing
    assert len(findings(records)) == 1
    s3.client.delete_object(Bucket=other, Key=f"{CANARY}/forgotten.pdf")
    runner(job())
    assert findings(records) == []
    s3.client.delete_bucket(Bucket=other)


def test_an_empty_listing_stops_the_run_before_any_finding(later, job, records, files, s3, written):
    files.versions(3)
    keep = files.version(there=False)
    later(job())
    assert findings(records) == [("missing_object", subject(keep), files.firm.id)]
    for entry in s3.client.list_objects_v2(Bucket=s3.name)["Contents"]:
        s3.client.delete_object(Bucket=s3.name, Key=entry["Key"])

    before = written()
    with pytest.raises(ImplausibleError, match=f"bucket {s3.name}: the listing is empty"):
        later(job())
    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}
    assert findings(records) == [("missing_object", subject(keep), files.firm.id)]


def test_a_short_listing_stops_the_run_unless_the_share_is_lowered(later, job, records, files):
    files.versions(4)
    files.versions(8, there=False)
    with pytest.raises(ImplausibleError, match="lower \\[cp_ops\\] s3_min_listing_share"):
        later(job())
    assert findings(records) == []
    trusting = later.with_settings(s3_orphan_grace_hours=0, s3_min_listing_share=0.3)
    trusting(job())
    assert len(findings(records)) == 8


def test_a_wrong_master_key_is_an_error_of_the_run(later, s3, records, files):
    files.versions(12)
    wrong = FieldEncryption(LocalKms("not the application's"), SANDBOX_DEFAULT_KEY_ID)
    with pytest.raises(ImplausibleError, match=r"none of .* can be decrypted"):
        later(ReconcileS3(Store(s3.client), wrong))
    assert findings(records) == []


def test_a_bucket_that_does_not_exist_is_an_error_that_names_bucket_and_row(later, job, records, files, s3):
    files.versions(2)
    stray = files.version(there=False)
    other = Files(files.firm, s3, "no-such-bucket-here").version(there=False)
    with pytest.raises(
        RemoteRefusedError, match=rf"no-such-bucket-here.*NoSuchBucket.*documents_versions:{other.id}"
    ):
        later(job())
    assert findings(records) == []
    assert stray.id != other.id


def test_access_denied_is_an_error_of_the_run(later, encryption, records, world, tmp_path_factory):
    """A real endpoint that enforces IAM: the reader's user has no policy at all."""
    import urllib.request

    import boto3

    server = S3Server(tmp_path_factory.mktemp("guarded-s3"), dies_with_parent=True)
    with server:
        admin = server.client()
        admin.create_bucket(Bucket="guarded")
        iam = boto3.client(
            "iam", endpoint_url=server.endpoint_url, region_name="us-east-1",
            aws_access_key_id="x", aws_secret_access_key="x",
        )  # fmt: skip
        iam.create_user(UserName="nobody")
        key = iam.create_access_key(UserName="nobody")["AccessKey"]

        class Place:
            client, name = admin, "guarded"

        Files(world.firm(), Place).versions(3)
        urllib.request.urlopen(
            urllib.request.Request(
                f"{server.endpoint_url}/moto-api/reset-auth",
                data=b"0",
                method="POST",
                headers={"Content-Type": "text/plain"},
            )
        )
        denied = boto3.client(
            "s3", endpoint_url=server.endpoint_url, region_name="us-east-1",
            aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"],
            config=boto3.session.Config(s3={"addressing_style": "path"}),
        )  # fmt: skip
        with pytest.raises(RemoteRefusedError, match="bucket guarded: access denied"):
            later(ReconcileS3(Store(denied), encryption))
    assert findings(records) == []
    assert later.last.findings.opened == 0
