"""What the steps of provisioning need, and what the plan's hash covers of it."""

from __future__ import annotations

from dataclasses import dataclass

from cp_ops.runtime.plan import Payload, Scalar


@dataclass(frozen=True, slots=True, eq=False)
class CreateFirm(Payload):
    """The firm's settings."""

    name: str
    timezone: str
    currency: str
    tier: str
    max_users: int
    max_clients: int
    max_storage_gb: int


@dataclass(frozen=True, slots=True, eq=False)
class CreateAccount(Payload):
    """Whether the account gets a password; the password itself is in no plan."""

    with_password: bool


@dataclass(frozen=True, slots=True, eq=False)
class AdoptAccount(Payload):
    """The account that becomes the firm's administrator."""

    user_id: int


@dataclass(frozen=True, slots=True, eq=False)
class CreateMissing(Payload):
    """The keys of a set's rows that the firm lacks."""

    missing: tuple[str, ...]

    def hashed(self) -> dict[str, Scalar]:
        """Give the keys as one text, a line each."""
        return {"keys": "\n".join(self.missing)}


@dataclass(frozen=True, slots=True, eq=False)
class CreateStages(Payload):
    """The pipeline that has no stages."""

    pipeline_id: int
