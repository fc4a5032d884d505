"""What the tests of erasing people share."""

from __future__ import annotations

import psycopg
import pytest

from cp_ops.runtime.field_encryption import FieldEncryption, LocalKms
from sandbox.world.documents import StoredFile
from sandbox.world.encryption import SANDBOX_DEFAULT_KEY_ID, SANDBOX_MASTER_KEY
from tests.integration.privacy.erasures import Eraser, People


@pytest.fixture
def db(app_db):
    with psycopg.connect(app_db.cp_ops_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def people(world):
    return People.of(world)


@pytest.fixture
def clients(s3):
    encryption = FieldEncryption(LocalKms(SANDBOX_MASTER_KEY), SANDBOX_DEFAULT_KEY_ID)
    return lambda: (Eraser(s3.client), encryption)


@pytest.fixture
def letters(s3, people):
    """Two stored documents of the client."""
    documents = []
    for name in ("one.pdf", "two.pdf"):
        s3.client.put_object(Bucket=s3.name, Key=name, Body=b"x")
        stored = StoredFile(bucket=s3.name, key=name)
        documents.append(people.firm_a.document(name, client=people.client_a, versions=[stored]))
    return documents
