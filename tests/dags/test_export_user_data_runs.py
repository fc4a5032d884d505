"""export_user_data through `dag.test()`: a required option, a folder and S3 over the connections."""

from __future__ import annotations

import io
from pathlib import Path

import psycopg
import pytest

from cp_ops.privacy.export.archive import verify


@pytest.fixture
def user_id(demo_world, app_db):
    with psycopg.connect(app_db.owner_dsn) as connection:
        row = connection.execute(
            "SELECT user_id FROM firm_membership GROUP BY user_id ORDER BY count(*) DESC, user_id LIMIT 1"
        ).fetchone()
    assert row is not None
    return row[0]


def test_to_a_folder_dry_and_real(run_dag, user_id, tmp_path):
    dry = run_dag("export_user_data", user_id=user_id, output_dir=str(tmp_path), dry_run=True)
    assert not list(tmp_path.iterdir())
    real = run_dag("export_user_data", user_id=user_id, output_dir=str(tmp_path))
    assert (dry.state, real.state) == ("success", "success")
    outcome = real.outcomes["export_user_data"]
    assert outcome["plan"] == dry.outcomes["export_user_data"]["plan"]
    archive = Path(outcome["numbers"]["archive"])
    assert list(tmp_path.iterdir()) == [archive]
    with archive.open("rb") as opened:
        assert verify(opened)["user_id"] == user_id


def test_to_s3(run_dag, user_id, s3):
    outcome = run_dag("export_user_data", user_id=user_id, output_dir=f"s3://{s3.name}/out").outcomes
    bucket, _, key = outcome["export_user_data"]["numbers"]["archive"].removeprefix("s3://").partition("/")
    stored = s3.client.get_object(Bucket=bucket, Key=key)
    assert stored["ServerSideEncryption"] == "AES256"
    assert verify(io.BytesIO(stored["Body"].read()))["user_id"] == user_id


def test_without_its_required_options_it_does_not_start(run_dag, metadata_db):
    with pytest.raises(ValueError, match="user_id"):
        run_dag("export_user_data", output_dir="/tmp")


def test_only_a_person_starts_it(dags):
    assert {kind.value for kind in dags["export_user_data"].allowed_run_types} == {"manual"}
