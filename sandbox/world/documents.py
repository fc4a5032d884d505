"""Documents with their versions, external shares, file requests and reminders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.world.encryption import s3_fingerprint
from sandbox.world.rows import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.world.clients import Client, Folder


@dataclass(frozen=True)
class StoredFile:
    """What a version says of its object; `key_id`: the key it was written with, if not the firm's."""

    bucket: str
    key: str
    size: int = 1024
    checksum: str = ""
    encrypted: bool = True
    key_id: str | None = None


class Version(Record):
    """documents_versions."""

    table = "documents_versions"

    def __init__(self, *args: Any, stored: StoredFile, fingerprint: str) -> None:
        super().__init__(*args)
        self.stored = stored
        self.fingerprint = fingerprint


class Document(Record):
    """documents_documents, with the versions that were made with it, oldest first."""

    table = "documents_documents"

    def __init__(self, *args: Any, versions: Sequence[Version] = ()) -> None:
        super().__init__(*args)
        self.versions = list(versions)

    def version(self, stored: StoredFile, **columns: Any) -> Version:
        """Insert the next version."""
        number = len(self.versions) + 1
        location = stored_location(self, stored)
        key = self.insert(
            "documents_versions",
            document_id=self.id,
            version_number=number,
            file_type=file_type(stored.key),
            file_size_bytes=stored.size,
            checksum=stored.checksum,
            **location | {"virus_scan_status": "clean"} | columns,
        )
        version = Version(self.world, key, self.scope, stored=stored, fingerprint=location["s3_fingerprint"])
        self.versions.append(version)
        return version


class FileRequest(Record):
    """documents_file_requests; `share_token` is in the upload link."""

    table = "documents_file_requests"

    def __init__(self, *args: Any, share_id: int, share_token: str) -> None:
        super().__init__(*args)
        self.share_id = share_id
        self.share_token = share_token

    def reminder(
        self, *, due_days_ago: float = 0, reminder_type: str = "followup", **columns: Any
    ) -> Reminder:
        """Insert a reminder that was due `due_days_ago` days ago (negative: is due in the future)."""
        defaults = {
            "days_after_creation": 3,
            "subject": "Reminder: we still need your files",
            "message": "Please upload the files that we asked for.",
        }
        key = self.insert(
            "documents_file_request_reminders",
            file_request_id=self.id,
            reminder_type=reminder_type,
            scheduled_for=self.world.ago(days=due_days_ago),
            **defaults | columns,
        )
        return Reminder(self.world, key, self.scope)


class Reminder(Record):
    """documents_file_request_reminders."""

    table = "documents_file_request_reminders"


class DocumentsOfFirm(Record):
    """The files of a firm."""

    def document(
        self,
        name: str | None = None,
        *,
        client: Client,
        versions: Sequence[StoredFile] = (),
        folder: Folder | None = None,
        age_days: float = 0,
        **columns: Any,
    ) -> Document:
        """Insert a document and its versions; its own location is that of the last version."""
        name = name or f"document-{self.world.serial()}.pdf"
        last = versions[-1] if versions else StoredFile(bucket=f"firm-{self.id}", key=f"documents/{name}")
        defaults = {"created_at": self.world.ago(days=age_days), "current_version": max(1, len(versions))}
        key = self.insert(
            "documents_documents",
            folder_id=(folder or client.folder()).id,
            client_id=client.id,
            name=name,
            file_type=file_type(last.key),
            file_size_bytes=last.size,
            **stored_location(self, last) | defaults | columns,
        )
        document = Document(self.world, key, self.scope)
        for stored in versions:
            document.version(stored, created_at=self.world.ago(days=age_days))
        return document

    def file_request(
        self,
        *,
        client: Client,
        title: str = "Documents for your tax return",
        share: dict[str, Any] | None = None,
        expires_in_days: float | None = 14,
        **columns: Any,
    ) -> FileRequest:
        """Insert a pending request with its upload share; `share` gives columns of the share."""
        expires_at = None if expires_in_days is None else self.world.ago(days=-expires_in_days)
        token = self.world.uuid()
        share_columns = {"share_token": token, "access_type": "upload", "expires_at": expires_at}
        share_id = self.insert("documents_external_shares", **share_columns | (share or {}))
        defaults = {"recipient_email": "office@client.example", "recipient_name": client.name}
        if "destination_folder_id" not in columns:
            columns["destination_folder_id"] = client.folder().id
        key = self.insert(
            "documents_file_requests",
            client_id=client.id,
            external_share_id=share_id,
            title=title,
            expires_at=expires_at,
            **defaults | columns,
        )
        return FileRequest(self.world, key, self.scope, share_id=share_id, share_token=str(token))


def stored_location(owner: Record, stored: StoredFile) -> dict[str, str]:
    """Return s3_key, s3_bucket and s3_fingerprint as the application stores them."""
    kms = owner.world.kms
    key_id = stored.key_id or kms.key_id(owner.scope.kms_key_id)
    at = int(owner.world.now.timestamp())

    def field(value: str) -> str:
        if not stored.encrypted:
            return value
        return kms.encrypt(value, key_id, iv=owner.world.random.randbytes(16), at=at)

    return {
        "s3_key": field(stored.key),
        "s3_bucket": field(stored.bucket),
        "s3_fingerprint": s3_fingerprint(key_id, stored.bucket, stored.key),
    }


def file_type(key: str) -> str:
    """Return the application's file type of an object key: its extension."""
    return key.rpartition(".")[2][:50] or "bin"
