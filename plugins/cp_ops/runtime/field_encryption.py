"""The application's field encryption: reading encrypted columns, and the fingerprint that stands beside a location.

A stored value is ``enc::`` and a ciphertext; without the prefix it is plain text of older rows. Encrypted are s3_key and
s3_bucket of documents_documents and documents_versions. Nothing here encrypts: the jobs never write these columns.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from cryptography.fernet import Fernet, InvalidToken

from cp_ops.runtime.errors import RowFailedError, SettingError

PREFIX = "enc::"


class UndecryptableError(RowFailedError):
    """A stored value that the firm's key does not open: damaged, or written with another key."""


class Kms(Protocol):
    """Opens ciphertexts; `calls` counts the calls to an outside system."""

    calls: int

    def decrypt(self, ciphertext: str, key_id: str) -> str:
        """Give the plain text.

        :param ciphertext: what is stored, without the prefix.
        :raises UndecryptableError: when this ciphertext cannot be opened; every other error is one of the run.
        """
        ...


class LocalKms:
    """KMS_BACKEND=local: Fernet with a key derived from one master key and the firm's key id; calls nobody."""

    def __init__(self, master_key: str) -> None:
        self.calls = 0
        self._master_key = master_key
        self._fernet = lru_cache(maxsize=1_024)(self._derive)

    def _derive(self, key_id: str) -> Fernet:
        digest = hashlib.sha256(self._master_key.encode() + key_id.encode()).digest()
        return Fernet(base64.urlsafe_b64encode(digest))

    def decrypt(self, ciphertext: str, key_id: str) -> str:
        """Give the plain text of a Fernet token.

        :raises UndecryptableError: when the token is damaged or was made with another key.
        """
        try:
            return self._fernet(key_id).decrypt(ciphertext).decode()
        except (InvalidToken, ValueError):  # ValueError: not ASCII before, or not UTF-8 after decryption
            raise UndecryptableError("the firm's key does not open the stored value") from None


@dataclass(frozen=True)
class FieldEncryption:
    """Reads encrypted columns as the application does.

    :param default_key_id: key id of firms whose `firm_firm.kms_key_id` is empty; DEFAULT_FIRM_KMS_KEY_ID.
    """

    kms: Kms
    default_key_id: str

    def key_id(self, firm_kms_key_id: str) -> str:
        """Give the id of the key that a firm's fields are encrypted with.

        :raises SettingError: when neither the firm nor the deployment has one.
        """
        if key_id := firm_kms_key_id or self.default_key_id:
            return key_id
        raise SettingError(
            "default_firm_kms_key_id",
            "is empty, but a firm without a key of its own has documents; give the application's DEFAULT_FIRM_KMS_KEY_ID",
        )

    def decrypt(self, stored: str | None, key_id: str) -> str:
        """Give a column's plain value; plain text, NULL and '' pass through (NULL as '').

        :raises UndecryptableError: when the key does not open it.
        """
        if not stored or not stored.startswith(PREFIX):
            return stored or ""
        return self.kms.decrypt(stored.removeprefix(PREFIX), key_id)


def location_fingerprint(key_id: str, bucket: str, key: str) -> str:
    """Give the application's s3_fingerprint of a location: hex SHA-256 of ``key_id:bucket:key``; '' when there is none.

    With an empty key id it is a name for an object, or with an empty key for a bucket, that tells neither.
    """
    if not bucket and not key:
        return ""
    return hashlib.sha256(f"{key_id}:{bucket}:{key}".encode()).hexdigest()
