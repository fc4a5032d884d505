"""The demo world is the same for the same seed, and what it says is wrong is wrong, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg.rows import dict_row

from sandbox.world import World, files, seed
from sandbox.world.documents import StoredFile
from sandbox.world.encryption import LocalKms, s3_fingerprint
from sandbox.world.finance import WEBHOOK_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def owner(app_db) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as conn:
        yield conn


def dump(conn: psycopg.Connection[Any]) -> dict[str, list[str]]:
    tables = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {
        table: sorted(row[0] for row in conn.execute(f'SELECT t::text FROM "{table}" AS t'))
        for (table,) in tables
    }


def rows(conn: psycopg.Connection[Any], statement: str, *parameters: Any) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, parameters).fetchall()


@pytest.fixture
def buckets(s3_server) -> Iterator[Any]:
    client = s3_server.client()
    files.empty_buckets(client)
    yield client
    files.empty_buckets(client)


def test_the_same_seed_gives_the_same_rows_with_the_same_keys(owner):
    first_manifest = seed.seed_rows(owner, now=NOW)
    first = dump(owner)
    seed.empty_tables(owner)
    second_manifest = seed.seed_rows(owner, now=NOW)
    second = dump(owner)
    seed.empty_tables(owner)
    seed.seed_rows(owner, now=NOW, seed=8)
    other = dump(owner)

    assert first == second
    assert first_manifest == second_manifest
    assert other != first
    assert {table: len(lines) for table, lines in other.items()} == {
        t: len(lines) for t, lines in first.items()
    }


def test_the_firms_are_numbered_one_to_three_active_trial_and_suspended(owner):
    manifest = seed.seed_rows(owner, now=NOW)

    firms = rows(owner, "SELECT id, status, kms_key_id <> '' AS own_key FROM firm_firm ORDER BY id")
    assert [tuple(firm.values()) for firm in firms] == [
        (1, "active", False),
        (2, "trial", True),
        (3, "suspended", False),
    ]
    assert manifest.firms == {1: "active", 2: "trial", 3: "suspended"}


def test_a_database_with_firms_is_not_seeded_again(owner):
    World(owner).firm()
    before = dump(owner)

    with pytest.raises(seed.UnseedableError, match="already hold firms"):
        seed.seed_rows(owner, now=NOW)

    assert dump(owner) == before


def test_row_level_security_is_turned_on_after_the_seed_and_not_before(owner):
    script = (REPOSITORY / "include" / "application" / "optional_row_level_security.sql").read_text().encode()
    owner.execute(script)

    with pytest.raises(seed.UnseedableError, match="seed first"):
        seed.seed_rows(owner, now=NOW)

    assert rows(owner, "SELECT FROM firm_firm") == []


def test_scale_multiplies_the_bulk_and_leaves_the_story_as_it_is(owner):
    small = seed.seed_rows(owner, now=NOW)
    events = rows(owner, "SELECT count(*) FROM finance_stripe_webhook_events WHERE firm_id = 1")[0]["count"]
    seed.empty_tables(owner)
    large = seed.seed_rows(owner, now=NOW, scale=3)

    grown = rows(owner, "SELECT count(*) FROM finance_stripe_webhook_events WHERE firm_id = 1")[0]["count"]
    assert grown == 3 * (events - 6) + 6
    kinds = {(item.job, item.kind, item.firm_id, item.note) for item in small.discrepancies}
    assert kinds == {(item.job, item.kind, item.firm_id, item.note) for item in large.discrepancies}


def test_the_events_to_clean_up_are_those_counted(owner):
    manifest = seed.seed_rows(owner, now=NOW, scale=2)

    for provider, table in WEBHOOK_TABLES.items():
        received, processed = (
            ("received_at", "processed")
            if provider == "docusign"
            else ("processed_at", "processed_successfully")
        )
        found = rows(
            owner,
            f"SELECT count(*) FILTER (WHERE {received} < %s AND {processed}) AS deleted,"
            f" count(*) FILTER (WHERE {received} < %s AND NOT {processed}) AS kept_unprocessed,"
            f" count(*) FILTER (WHERE {received} >= %s) AS recent FROM {table}",
            *[NOW - timedelta(days=180)] * 3,
        )[0]
        assert found == manifest.counts["cleanup_webhook_events"][provider]
        assert min(found.values()) > 0


def test_the_deals_to_act_on_are_those_named(owner):
    manifest = seed.seed_rows(owner, now=NOW)
    due: dict[str, set[int]] = {"becomes_stale": set(), "no_longer_stale": set(), "close_date": set()}

    for deal in rows(
        owner,
        "SELECT d.*, f.timezone FROM crm_deals AS d JOIN firm_firm AS f ON f.id = d.firm_id"
        " WHERE f.status IN ('active', 'trial') AND d.is_active AND NOT d.is_won AND NOT d.is_lost",
    ):
        zone = ZoneInfo(deal["timezone"])
        today = NOW.astimezone(zone).date()
        active = deal["last_activity_date"] or deal["created_at"].astimezone(zone).date()
        stale = (today - active).days >= deal["stale_days_threshold"]
        if stale and not deal["is_stale"]:
            due["becomes_stale"].add(deal["id"])
        if deal["is_stale"] and not stale:
            due["no_longer_stale"].add(deal["id"])
        if (deal["expected_close_date"] - today).days <= 7:
            due["close_date"].add(deal["id"])

    bulk = {row["id"] for row in rows(owner, "SELECT id FROM crm_deals WHERE name LIKE 'Opportunity %%'")}
    for kind, found in due.items():
        assert found - bulk == {item.id for item in manifest.of("check_stale_deals", kind)}, kind
        assert found - bulk
    assert len(due["becomes_stale"] & bulk) == manifest.counts["check_stale_deals"]["bulk"]["becomes_stale"]


def test_the_files_that_disagree_with_s3_are_those_named(owner, buckets):
    manifest = seed.seed_rows(owner, now=NOW)
    seed.seed_objects(buckets, document_scale=1)
    kms = LocalKms.from_environment()
    found: set[tuple[str, Any]] = set()
    known: set[tuple[str, str]] = set()

    for version in rows(
        owner,
        "SELECT v.*, f.kms_key_id FROM documents_versions AS v JOIN firm_firm AS f ON f.id = v.firm_id"
        " WHERE f.status IN ('active', 'trial')",
    ):
        key_id = kms.key_id(version["kms_key_id"])
        try:
            bucket, key = (kms.decrypt(version[name], key_id) for name in ("s3_bucket", "s3_key"))
        except ValueError:
            found.add(("unreadable_row", version["id"]))
            continue
        known.add((bucket, key))
        assert version["s3_fingerprint"] == s3_fingerprint(key_id, bucket, key)
        kind = compare(buckets, bucket, key, version)
        if kind:
            found.add((kind, version["id"]))
    for name in (files.bucket(1), files.archive_bucket(1), files.bucket(2)):
        listed = buckets.list_objects_v2(Bucket=name).get("Contents", [])
        found |= {
            ("orphan_object", f"{name}/{entry['Key']}")
            for entry in listed
            if (name, entry["Key"]) not in known
        }

    assert found == {(item.kind, item.id) for item in manifest.of("reconcile_s3")}
    assert {kind for kind, _ in found} == {
        "missing_object",
        "size_mismatch",
        "checksum_mismatch",
        "orphan_object",
        "unreadable_row",
    }


def compare(s3: Any, bucket: str, key: str, version: dict[str, Any]) -> str | None:
    try:
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return "missing_object"
    if len(body) != version["file_size_bytes"]:
        return "size_mismatch"
    if version["checksum"] and hashlib.sha256(body).hexdigest() != version["checksum"]:
        return "checksum_mismatch"
    return None


def test_the_files_show_every_way_a_row_can_be_stored(owner):
    seed.seed_rows(owner, now=NOW)
    versions = rows(owner, "SELECT * FROM documents_versions WHERE firm_id = 1")

    assert sum(not version["s3_key"].startswith("enc::") for version in versions) == 1
    minutes = [v for v in versions if v["version_number"] > 1 and v["firm_id"] == 1]
    assert len(minutes) == 2
    kms = LocalKms.from_environment()
    history = [v for v in versions if v["document_id"] == minutes[0]["document_id"]]
    assert {kms.decrypt(v["s3_bucket"], kms.default_key_id) for v in history} == {
        files.bucket(1),
        files.archive_bucket(1),
    }


def test_objects_that_s3_forgot_are_put_again_and_no_others(buckets):
    put = seed.seed_objects(buckets, document_scale=1)
    again = seed.seed_objects(buckets, document_scale=1)
    buckets.delete_object(Bucket=files.bucket(1), Key="documents/engagement-letter.pdf")
    repaired = seed.seed_objects(buckets, document_scale=1)

    assert put > 50
    assert (again, repaired) == (0, 1)


def test_every_planted_row_exists_and_every_job_s_discrepancies_are_in_firms_in_business(owner):
    manifest = seed.seed_rows(owner, now=NOW)

    assert len(manifest.discrepancies) > 40
    for item in manifest.discrepancies:
        assert item.firm_id in (1, 2)
        if item.table:
            assert rows(owner, f"SELECT FROM {item.table} WHERE id = %s", item.id), item


def test_the_command_seeds_an_empty_database_and_leaves_a_full_one_as_it_is(
    app_db, owner, s3_server, buckets
):
    environment = os.environ | {
        "CP_OPS_WORLD_DSN": app_db.owner_dsn,
        "AIRFLOW_CONN_CP_S3": json.dumps(s3_server.connection()),
        "CP_OPS_LOCAL_KMS_MASTER_KEY": "of this test",
        "SCALE": "1",
    }

    def run(*arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "sandbox.world", "seed", *arguments]
        answer = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=True)
        return json.loads(answer.stdout)

    first = run("--now", NOW.isoformat())
    written = dump(owner)
    second = run()

    assert first["rows"] == "written"
    assert first["objects_put"] > 50
    assert second == {"rows": "present before", "objects_put": 0}
    assert dump(owner) == written
    stored = rows(owner, "SELECT s3_bucket FROM documents_versions WHERE firm_id = 1 ORDER BY id LIMIT 1")[0][
        "s3_bucket"
    ]
    kms = LocalKms(master_key="of this test")
    assert kms.decrypt(stored, kms.default_key_id) == files.bucket(1)


def test_the_command_refuses_to_run_without_an_endpoint(app_db):
    environment = {"PATH": os.environ["PATH"], "CP_OPS_WORLD_DSN": app_db.owner_dsn}
    command = [sys.executable, "-m", "sandbox.world", "seed"]

    answer = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )

    assert answer.returncode == 2
    assert "no S3 endpoint" in answer.stderr


def test_an_encrypted_field_is_what_fernet_makes_of_the_documented_key(owner):
    kms = LocalKms(master_key="master", default_key_id="default")
    firm = World(owner, kms=kms).firm(kms_key_id="own")
    document = firm.document(client=firm.client(), versions=[StoredFile("bucket", "folder/naïve.pdf")])
    row = document.versions[0].row()

    fernet = Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"master" + b"own").digest()))
    assert fernet.decrypt(row["s3_key"].removeprefix("enc::").encode()).decode() == "folder/naïve.pdf"
    assert kms.decrypt("enc::" + fernet.encrypt(b"bucket").decode(), "own") == "bucket"
    assert row["s3_fingerprint"] == hashlib.sha256("own:bucket:folder/naïve.pdf".encode()).hexdigest()
    with pytest.raises(ValueError, match="not encrypted with this key"):
        kms.decrypt(row["s3_key"], "default")


def test_two_worlds_in_one_database_do_not_collide(owner):
    for _ in range(2):
        firm = World(owner).firm()
        firm.user()
        firm.webhook_event("stripe")
        firm.file_request(client=firm.client())

    assert rows(owner, "SELECT count(*) FROM firm_firm")[0]["count"] == 2
    assert isinstance(
        rows(owner, "SELECT share_token FROM documents_external_shares")[0]["share_token"], uuid.UUID
    )
