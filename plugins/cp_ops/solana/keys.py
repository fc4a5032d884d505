"""Keys: the fee payer's, and those of the wallets as the payment module stores them."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from solders.keypair import Keypair

from cp_ops.runtime.errors import RowFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET_BYTES = 64


class KeyProblem(StrEnum):
    """Why a stored key is of no use."""

    UNDECRYPTABLE = "key_undecryptable"
    MISMATCH = "key_mismatch"


class KeyUnusableError(RowFailedError):
    """A wallet's stored key cannot be read, or belongs to another address."""

    def __init__(self, problem: KeyProblem, message: str) -> None:
        self.problem = problem
        super().__init__(message)


def parse_keypair(text: str) -> Keypair:
    """Read a keypair: a JSON array of 64 integers, as Solana's tools write it, or base58.

    :raises ValueError: saying what is wrong, without the key.
    """
    text = text.strip()
    try:
        if text.startswith("["):
            return Keypair.from_bytes(_bytes_of(text))
        return Keypair.from_base58_string(text)
    except (ValueError, TypeError):
        raise ValueError("must be a keypair: a JSON array of 64 integers, or its base58 form") from None


def _bytes_of(text: str) -> bytes:
    numbers = json.loads(text)
    if not isinstance(numbers, list) or len(numbers) != SECRET_BYTES:
        raise ValueError("not 64 integers")
    return bytes(numbers)


class WalletKeyRing:
    """Reads stored keys: encrypted under any of several Fernet keys, the newest first, or plain JSON.

    The ring is what rotation needs: put the new key in front, keep the old one until no wallet uses it.
    """

    def __init__(self, fernet_keys: Sequence[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in fernet_keys]) if fernet_keys else None
        except (ValueError, TypeError):
            raise ValueError("must be Fernet keys: 32 bytes in URL-safe base64") from None

    def keypair(self, stored: str, address: str) -> Keypair:
        """Give the keypair of a wallet.

        :param stored: the text of column keypair_json: a Fernet token or a JSON array.
        :raises KeyUnusableError: when it cannot be read, or is not the key of `address`.
        """
        text = stored
        if not stored.lstrip().startswith("["):
            if self._fernet is None:
                raise KeyUnusableError(
                    KeyProblem.UNDECRYPTABLE,
                    "the key is encrypted, and the connection has no wallet_encryption_keys",
                )
            try:
                text = self._fernet.decrypt(stored).decode()
            except (InvalidToken, ValueError):
                raise KeyUnusableError(
                    KeyProblem.UNDECRYPTABLE,
                    "none of the connection's wallet_encryption_keys decrypts the key",
                ) from None
        try:
            keypair = Keypair.from_bytes(_bytes_of(text))
        except (ValueError, TypeError):
            raise KeyUnusableError(KeyProblem.UNDECRYPTABLE, "what is stored is not a keypair") from None
        # Signing with another wallet's key would move that wallet's money, and leave this one's where it is.
        if str(keypair.pubkey()) != address:
            raise KeyUnusableError(
                KeyProblem.MISMATCH, "the stored key is not the key of the payment's address"
            )
        return keypair
