"""The objects of deleted documents."""

from __future__ import annotations

import pytest

from cp_ops.runtime.errors import (
    RowsFailedError,
)
from tests.integration.killed import let_leases_expire, run_killed_at
from tests.integration.privacy.retention.retention_world import (
    STEPS,
    count,
    job,
    left,
    pending,
)


def test_a_deleted_documents_objects_go_with_all_their_versions(stored, owner, runner, store, s3):
    outcome = runner(job(store))
    assert outcome.numbers["objects_deleted"] == 2
    assert left(s3) == ["docs/young", "docs/young"]
    assert count(owner, "documents_versions") == 1
    assert pending(runner) == 0


def test_an_object_that_another_document_still_names_stays(stored, owner, runner, store, s3, world):
    first = owner.execute(
        "SELECT s3_key, s3_bucket, s3_fingerprint FROM documents_versions ORDER BY id"
    ).fetchone()
    owner.execute(
        "UPDATE documents_documents SET s3_key = %s, s3_bucket = %s, s3_fingerprint = %s WHERE name = 'young.pdf'",
        first,
    )
    outcome = runner(job(store))
    assert outcome.skip_reasons["objects: another document still names it"] == 1
    assert left(s3) == ["docs/one"] * 2 + ["docs/young"] * 2


def test_an_object_that_could_not_be_deleted_is_deleted_by_the_next_run(
    stored, owner, runner, store, s3, monkeypatch
):
    from cp_ops.runtime.errors import RemoteRefusedError, TransientRowsFailedError

    def refused(bucket, keys):
        raise RemoteRefusedError("access denied")

    monkeypatch.setattr(store, "delete_versions", refused)
    with pytest.raises((RowsFailedError, TransientRowsFailedError), match="access denied"):
        runner(job(store))
    assert count(owner, "documents_documents", "name = 'old.pdf'") == 0
    assert pending(runner) == 2
    monkeypatch.undo()
    assert runner(job(store)).numbers["objects_deleted"] == 2
    assert left(s3) == ["docs/young"] * 2
    assert pending(runner) == 0


def test_objects_of_a_run_that_was_killed_after_the_rows_go_with_the_next_one(
    stored, owner, runner, store, s3
):
    assert run_killed_at(lambda: runner(job(store)), STEPS["objects deleted"], before=True)
    assert count(owner, "documents_documents", "name = 'old.pdf'") == 0
    assert len(left(s3)) == 6
    let_leases_expire(runner)
    assert runner(job(store)).numbers["objects_deleted"] == 2
    assert left(s3) == ["docs/young"] * 2
