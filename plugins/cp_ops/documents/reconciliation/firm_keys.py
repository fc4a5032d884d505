"""The encryption keys of the firms whose documents are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cp_ops.runtime.field_encryption import FieldEncryption


class FirmKeys:
    """The encryption key of each firm, and a number for each key: several firms may share one.

    A firm without a key where the deployment has no default is an error only once its key is asked for.
    """

    def __init__(self, encryption: FieldEncryption, firm_kms_key_ids: Mapping[int, str]) -> None:
        self._encryption = encryption
        self._of_firm = firm_kms_key_ids
        self._numbers: dict[str, int] = {}

    def key_id(self, firm_id: int) -> str:
        """Give the id of a firm's key.

        :raises SettingError: when it has none.
        """
        return self._encryption.key_id(self._of_firm[firm_id])

    def number(self, key_id: str) -> int:
        """Give a key's number."""
        return self._numbers.setdefault(key_id, len(self._numbers) + 1)

    def numbers(self, firm_ids: Iterable[int]) -> list[int]:
        """Give the numbers of the firms' keys; 0 for a firm without one."""
        return [self.number(self.key_id(firm)) if self._has_key(firm) else 0 for firm in firm_ids]

    def all_key_ids(self) -> set[str]:
        """Give the distinct keys of all firms."""
        return {self.key_id(firm_id) for firm_id in self._of_firm if self._has_key(firm_id)}

    def _has_key(self, firm_id: int) -> bool:
        return bool(self._of_firm[firm_id] or self._encryption.default_key_id)
