"""Stored documents that a policy covers."""

from __future__ import annotations

import itertools

import pytest

from cp_ops.hooks.s3 import S3
from sandbox.world.documents import StoredFile


@pytest.fixture
def store(s3):
    return S3(client=s3.client)


@pytest.fixture
def stored(world, s3):
    """A firm with a policy and an old document of two versions, in a versioned bucket."""
    firm = world.firm()
    firm.retention_policy("documents", 30)
    s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    keys = ["docs/one", "docs/two", "docs/young"]
    for key, _ in itertools.product(keys, range(2)):
        s3.client.put_object(Bucket=s3.name, Key=key, Body=b"x")
    client = firm.client()
    versions = [StoredFile(s3.name, key) for key in keys]
    firm.document("old.pdf", client=client, versions=versions[:2], age_days=400)
    firm.document("young.pdf", client=client, versions=versions[2:], age_days=3)
    return firm
