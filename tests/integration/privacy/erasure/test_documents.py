"""execute_erasure_request: stored files, and legal holds that come at any time."""

from __future__ import annotations

import psycopg
import pytest

from cp_ops.privacy.erasure.plan import ErasureBlockedError
from cp_ops.runtime.errors import RemoteRefusedError
from cp_ops.runtime.field_encryption import FieldEncryption, LocalKms
from sandbox.world.documents import StoredFile
from sandbox.world.encryption import SANDBOX_DEFAULT_KEY_ID, SANDBOX_MASTER_KEY
from tests.integration.privacy.erasures import (
    PERSON,
    Eraser,
    execute,
    meanwhile,
    request_for,
    set_hold,
    versions_of,
)


@pytest.mark.parametrize("versioned", [True, False])
def test_a_document_loses_its_metadata_and_every_version_of_its_objects(
    runner, s3, clients, people, versioned
):
    if versioned:
        s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        s3.client.put_object(Bucket=s3.name, Key="letters/quentin.pdf", Body=body)
    s3.client.put_object(Bucket=s3.name, Key="letters/quentin.pdf.bak", Body=b"another key")
    if versioned:
        s3.client.delete_object(Bucket=s3.name, Key="letters/quentin.pdf")
    stored = StoredFile(bucket=s3.name, key="letters/quentin.pdf")
    document = people.firm_a.document("quentin.pdf", client=people.client_a, versions=[stored])
    other = people.firm_a.document(client=people.client_a)
    before = other.row()

    outcome = execute(runner, request_for(people.firm_a, document, people), clients)
    assert versions_of(s3, "letters/quentin.pdf") == []
    assert len(versions_of(s3, "letters/quentin.pdf.bak")) == 1
    row = document.row()
    assert row["name"] == f"Erased {row['id']}"
    assert not row["s3_key"].startswith("enc::")
    assert outcome.numbers["objects_deleted"] == (3 if versioned else 1)
    assert other.row() == before


def test_objects_that_s3_keeps_leave_the_document_as_it_is(runner, s3, people):
    class Locked(Eraser):
        def delete_versions(self, bucket, key):
            raise RemoteRefusedError(f"bucket {bucket}: 1 versions were not deleted (AccessDenied)")

    stored = StoredFile(bucket=s3.name, key="letters/quentin.pdf")
    document = people.firm_a.document("quentin.pdf", client=people.client_a, versions=[stored])
    before = document.row()
    request = request_for(people.firm_a, document, people)
    encryption = FieldEncryption(LocalKms(SANDBOX_MASTER_KEY), SANDBOX_DEFAULT_KEY_ID)
    with pytest.raises(RemoteRefusedError):
        execute(runner, request, lambda: (Locked(s3.client), encryption))
    assert document.row() == before
    assert request.row()["status"] == "failed"
    assert "AccessDenied" in request.row()["error_message"]


def test_a_hold_on_a_document_without_a_file_keeps_the_files_of_the_others(
    runner, s3, clients, db, people, letters
):
    bare = people.firm_a.document(client=people.client_a, s3_key="", s3_bucket="")
    request = request_for(people.firm_a, people.client_a, people)

    def hold_it():
        set_hold(db, bare)
        return clients()

    with pytest.raises(ErasureBlockedError, match=r"legal hold \(1\)"):
        execute(runner, request, hold_it)
    assert [len(versions_of(s3, name)) for name in ("one.pdf", "two.pdf")] == [1, 1]


def test_a_hold_that_is_set_after_the_preview_stops_before_anything_is_deleted(
    runner, s3, clients, db, people, letters
):
    request = request_for(people.firm_a, people.client_a, people)

    def hold_the_last():
        set_hold(db, letters[1])
        return clients()

    with pytest.raises(ErasureBlockedError, match=r"legal hold \(1\)"):
        execute(runner, request, hold_the_last)
    assert [len(versions_of(s3, name)) for name in ("one.pdf", "two.pdf")] == [1, 1]
    assert [document.row()["name"] for document in letters] == ["one.pdf", "two.pdf"]
    assert people.contact_a.row()["email"] == PERSON["email"]
    assert (request.row()["status"], "legal hold" in request.row()["error_message"]) == ("failed", True)


def test_a_hold_that_is_set_between_two_documents_keeps_the_second_ones_objects(
    runner, s3, clients, db, people, letters
):
    class HoldsTheSecond(Eraser):
        def delete_versions(self, bucket, key):
            deleted = super().delete_versions(bucket, key)
            set_hold(db, letters[1])
            return deleted

    request = request_for(people.firm_a, people.client_a, people)
    with pytest.raises(ErasureBlockedError, match=r"legal hold \(1\)"):
        execute(runner, request, lambda: (HoldsTheSecond(s3.client), clients()[1]))
    assert [len(versions_of(s3, name)) for name in ("one.pdf", "two.pdf")] == [0, 1]
    assert letters[1].row()["name"] == "two.pdf"
    assert people.contact_a.row()["email"] == PERSON["email"]


def test_a_hold_cannot_be_set_while_the_documents_objects_are_being_deleted(
    runner, s3, clients, db, people, letters
):
    class TriesToHold(Eraser):
        def delete_versions(self, bucket, key):
            db.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                set_hold(db, letters[("one.pdf", "two.pdf").index(key)])
            return super().delete_versions(bucket, key)

    request = request_for(people.firm_a, people.client_a, people)
    execute(runner, request, lambda: (TriesToHold(s3.client), clients()[1]))
    assert request.row()["status"] == "completed"


@pytest.mark.parametrize("step", ["erase_dependants", "search", "hold"])
def test_a_hold_that_is_set_during_the_execution_keeps_what_is_left(
    runner, clients, db, people, letters, monkeypatch, step
):
    meanwhile(monkeypatch, lambda: set_hold(db, letters[1]), at=step)
    request = request_for(people.firm_a, people.client_a, people)
    with pytest.raises(ErasureBlockedError, match=r"legal hold \(1\)"):
        execute(runner, request, clients)
    assert people.contact_a.row()["email"] == PERSON["email"]
    assert request.row()["status"] == "failed"
    if step == "erase_dependants":
        assert [document.row()["name"] for document in letters] == ["one.pdf", "two.pdf"]
