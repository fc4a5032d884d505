"""API keys: secret keys, restricted keys with permissions, revoked keys (https://docs.stripe.com/keys)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .catalog import ACCOUNT_ID, KINDS
from .errors import ApiError

if TYPE_CHECKING:
    from .store import Store

DEFAULT_KEY = "sk_test_sandbox"
RESOURCES = frozenset({about.permission for about in KINDS.values()} | {"account"})
LEVELS = {"none": 0, "read": 1, "write": 2}


@dataclass(frozen=True)
class ApiKey:
    """A key; ``permissions`` (resource -> none, read, write) is None for a key that may do everything."""

    value: str
    permissions: dict[str, str] | None = None

    def require(self, resource: str, level: str) -> None:
        """Raise ``ApiError`` 403 unless the key has the permission; write includes read."""
        if self.permissions is None:
            return
        if LEVELS[self.permissions.get(resource, "none")] < LEVELS[level]:
            raise ApiError(
                403,
                f"The provided key '{masked(self.value)}' does not have the required permissions for this "
                f"endpoint on account '{ACCOUNT_ID}'. Having the 'rak_{resource}_{level}' permission would "
                "allow this request to continue.",
                remembered=False,
            )


@dataclass
class KeyRing:
    """The keys of the account; they survive a restart."""

    store: Store
    _default: dict[str, Any] = field(default_factory=lambda: {DEFAULT_KEY: None})

    def add(self, value: str, permissions: dict[str, str] | None = None) -> str:
        """Admit a key; permissions make it a restricted one (``rk_test_...``)."""
        if permissions is not None:
            if not value.startswith("rk_"):
                raise ValueError("a restricted key starts with rk_test_")
            for resource, level in permissions.items():
                if resource not in RESOURCES or level not in LEVELS:
                    raise ValueError(
                        f"no such permission: {resource}={level} (resources: {sorted(RESOURCES)})"
                    )
        with self.store.lock:
            self.store.set_state("keys", {**self._keys(), value: permissions})
        return value

    def revoke(self, value: str) -> None:
        """Make a key unknown."""
        with self.store.lock:
            keys = self._keys()
            keys.pop(value, None)
            self.store.set_state("keys", keys)

    def authenticate(self, authorization: str | None) -> ApiKey:
        """Return the key of an Authorization header (Bearer, or Basic with the key as the user name), or 401."""
        value = _credential(authorization)
        if value is None:
            raise ApiError(
                401,
                "You did not provide an API key. You need to provide your API key in the Authorization header, "
                "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
                remembered=False,
            )
        with self.store.lock:
            keys = self._keys()
        if value not in keys:
            raise ApiError(401, f"Invalid API Key provided: {masked(value)}", remembered=False)
        return ApiKey(value, keys[value])

    def _keys(self) -> dict[str, Any]:
        return dict(self.store.state("keys", self._default))


def masked(value: str) -> str:
    """Return a key as error messages show it."""
    head = "_".join(value.split("_")[:2]) + "_" if value.count("_") > 1 else ""
    rest = value[len(head) :]
    return head + "*" * max(0, len(rest) - 4) + rest[-4:]


def _credential(authorization: str | None) -> str | None:
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip() or None
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest).decode().partition(":")[0] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None
