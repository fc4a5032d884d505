"""What the tests of reconcile_s3 share: documents with their objects, the store, and what was found."""

from __future__ import annotations

import hashlib

from cp_ops.hooks.s3 import S3
from cp_ops.runtime.field_encryption import LocalKms
from sandbox.world.documents import StoredFile

CANARY = "kanarienvogel"
"""In every object's key: may turn up nowhere else."""


class CountingKms(LocalKms):
    """The local backend, counting what it opens."""

    opened = 0

    def decrypt(self, ciphertext, key_id):
        self.opened += 1
        return super().decrypt(ciphertext, key_id)


class Store(S3):
    """The hook over a client of the test's own endpoint; may do something between listing and look-up."""

    def __init__(self, client, after_listing=None):
        super().__init__(client=client)
        self.after_listing = after_listing

    def pages(self, bucket):
        yield from super().pages(bucket)
        if self.after_listing:
            self.after_listing(bucket)


class Files:
    """Documents of a firm with their objects."""

    def __init__(self, firm, s3, bucket=None):
        self.firm, self.s3, self.bucket = firm, s3, bucket or s3.name
        self.client = firm.client()
        self.number = 0

    def key(self, name=None):
        self.number += 1
        return name or f"{CANARY}/{self.firm.id}/é ü:{self.number}.pdf"

    def put(self, key, body=b"content", *, sha256=False):
        extra = {"ChecksumAlgorithm": "SHA256"} if sha256 else {}
        self.s3.client.put_object(Bucket=self.bucket, Key=key, Body=body, **extra)

    def version(
        self, body=b"content", *, there=True, sha256=False, age_days=1, size=None, checksum="", **stored
    ):
        key = self.key()
        if there:
            self.put(key, body, sha256=sha256)
        file = StoredFile(
            self.bucket, key, size=len(body) if size is None else size, checksum=checksum, **stored
        )
        document = self.firm.document(client=self.client, versions=[file], age_days=age_days)
        document.versions[0].document = document
        return document.versions[0]

    def versions(self, count, **kwargs):
        return [self.version(**kwargs) for _ in range(count)]


def findings(records, *, every=False):
    return records.execute(
        "SELECT kind, subject, firm_id FROM cp_ops.finding WHERE resolved_at IS NULL OR %s ORDER BY kind, id",
        (every,),
    ).fetchall()


def details(records, kind):
    return records.execute(
        "SELECT details FROM cp_ops.finding WHERE kind = %s AND resolved_at IS NULL", (kind,)
    ).fetchone()[0]


def subject(version):
    return f"documents_versions:{version.id}"


def orphan(bucket, key):
    return (
        f"s3_object:{hashlib.sha256(f':{bucket}:'.encode()).hexdigest()}"
        f":{hashlib.sha256(f':{bucket}:{key}'.encode()).hexdigest()}"
    )
