"""Field encryption as the application writes it with KMS_BACKEND=local.

Written from the formats alone (ConsultantPro's documentation and the Fernet specification,
https://github.com/fernet/spec), so that the tests can hold it against cp_ops as a second opinion.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

PREFIX = "enc::"
SANDBOX_MASTER_KEY = "sandbox-local-kms-master-key"
SANDBOX_DEFAULT_KEY_ID = "sandbox-default-firm-key"

_FERNET_VERSION = b"\x80"
_BLOCK_BITS = 128


@dataclass(frozen=True)
class LocalKms:
    """The settings behind every encrypted field: the master key, and the key id of firms without one."""

    master_key: str = SANDBOX_MASTER_KEY
    default_key_id: str = SANDBOX_DEFAULT_KEY_ID

    @classmethod
    def from_environment(cls) -> LocalKms:
        """Read CP_OPS_* or AIRFLOW__CP_OPS__*, as a deployment sets them; else the sandbox's values."""
        return cls(
            master_key=_setting("LOCAL_KMS_MASTER_KEY", SANDBOX_MASTER_KEY),
            default_key_id=_setting("DEFAULT_FIRM_KMS_KEY_ID", SANDBOX_DEFAULT_KEY_ID),
        )

    def key_id(self, firm_kms_key_id: str) -> str:
        """Return the id of the key that a firm's fields are encrypted with."""
        return firm_kms_key_id or self.default_key_id

    def encrypt(self, plain: str, key_id: str, *, iv: bytes | None = None, at: int | None = None) -> str:
        """Return the stored form of a value; `iv` (16 bytes) and `at` (Unix seconds) make it repeatable."""
        if not plain:
            return plain
        signing_key, encryption_key = self._keys(key_id)
        iv = os.urandom(16) if iv is None else iv
        padder = PKCS7(_BLOCK_BITS).padder()
        padded = padder.update(plain.encode()) + padder.finalize()
        encryptor = Cipher(algorithms.AES(encryption_key), modes.CBC(iv)).encryptor()
        ciphertext = encryptor.update(padded) + encryptor.finalize()
        timestamp = int(time.time()) if at is None else at
        signed = _FERNET_VERSION + timestamp.to_bytes(8, "big") + iv + ciphertext
        token = signed + hmac.digest(signing_key, signed, "sha256")
        return PREFIX + base64.urlsafe_b64encode(token).decode()

    def decrypt(self, stored: str, key_id: str) -> str:
        """Return the plain value of a stored one; ValueError if it was written with another key."""
        if not stored.startswith(PREFIX):
            return stored
        signing_key, encryption_key = self._keys(key_id)
        token = base64.urlsafe_b64decode(stored.removeprefix(PREFIX))
        signed, signature = token[:-32], token[-32:]
        if not hmac.compare_digest(hmac.digest(signing_key, signed, "sha256"), signature):
            raise ValueError("the value was not encrypted with this key")
        decryptor = Cipher(algorithms.AES(encryption_key), modes.CBC(signed[9:25])).decryptor()
        padded = decryptor.update(signed[25:]) + decryptor.finalize()
        unpadder = PKCS7(_BLOCK_BITS).unpadder()
        return (unpadder.update(padded) + unpadder.finalize()).decode()

    def _keys(self, key_id: str) -> tuple[bytes, bytes]:
        """Return Fernet's signing and encryption key: the halves of SHA256(master key || key id)."""
        material = hashlib.sha256(self.master_key.encode() + key_id.encode()).digest()
        return material[:16], material[16:]


def s3_fingerprint(key_id: str, bucket: str, key: str) -> str:
    """Return the hash beside an encrypted location, by which objects match without decrypting."""
    if not bucket and not key:
        return ""
    return hashlib.sha256(f"{key_id}:{bucket}:{key}".encode()).hexdigest()


def _setting(name: str, default: str) -> str:
    return os.environ.get(f"CP_OPS_{name}") or os.environ.get(f"AIRFLOW__CP_OPS__{name}") or default
