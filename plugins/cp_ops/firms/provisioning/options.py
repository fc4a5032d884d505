"""Options of provision_firm, checked one by one with a message that says what would be right."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field

from cp_ops.runtime.errors import OptionsError
from cp_ops.runtime.money import EXPONENTS
from cp_ops.runtime.options import SECRET_LIKE, JobOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

Tier = Literal["starter", "professional", "enterprise"]

SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
CONNECTION_ID = re.compile(r"[A-Za-z0-9_.-]{1,250}")
LOCAL_PART = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.IGNORECASE)
DOMAIN = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])", re.IGNORECASE
)
MAX_LOCAL_PART = 64
"""RFC 5321, 4.5.3.1.1."""
MAX_USERNAME = 150
"""Of auth_user.username, which is the address."""
PERSONAL: dict[str, Any] = {"personal": True}


def _known_slug(slug: str) -> str:
    if not SLUG.fullmatch(slug):
        raise ValueError(
            "must be lower-case letters and digits, words joined by single hyphens, such as acme-consulting"
        )
    return slug


def _known_address(address: str) -> str:
    local, at, domain = address.strip().rpartition("@")
    if not at or not LOCAL_PART.fullmatch(local) or len(local) > MAX_LOCAL_PART:
        raise ValueError("is not an e-mail address such as name@example.com")
    if not DOMAIN.fullmatch(domain):
        raise ValueError("has no valid domain after the @, such as example.com")
    if len(local) + 1 + len(domain) > MAX_USERNAME:
        raise ValueError(f"is longer than {MAX_USERNAME} characters, the most that a user name may have")
    return f"{local}@{domain.lower()}"


def _known_reference(conn_id: str) -> str:
    if not CONNECTION_ID.fullmatch(conn_id):
        raise ValueError("is not the id of an Airflow connection (it must never be the password itself)")
    return conn_id


def _known_timezone(name: str) -> str:
    if name not in _timezones():
        raise ValueError(f"{name!r} is not an IANA time zone, such as America/New_York")
    return name


def _known_currency(code: str) -> str:
    if code not in EXPONENTS:
        raise ValueError(f"{code!r} is not a current ISO 4217 code in capitals, such as EUR")
    return code


def _one_line(text: str) -> str:
    if any(ord(character) < ord(" ") for character in text):
        raise ValueError("must be a single line of text")
    return text.strip()


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())


class ProvisionFirmOptions(JobOptions):
    """Options of provision_firm."""

    name: Annotated[str, AfterValidator(_one_line)] = Field(
        min_length=1, max_length=255, title="Name", description="Name of the firm, unique among firms"
    )
    slug: Annotated[str, AfterValidator(_known_slug)] = Field(
        max_length=255,
        title="Slug",
        description=(
            "The firm's part of web addresses, in lower-case letters, digits and hyphens. A run with a "
            "slug that exists verifies and repairs that firm."
        ),
    )
    admin_email: Annotated[str, AfterValidator(_known_address)] = Field(
        title="Administrator's e-mail",
        description="Address and user name of the firm's administrator",
        json_schema_extra=PERSONAL,
    )
    admin_password_ref: Annotated[str, AfterValidator(_known_reference)] | None = Field(
        default=None,
        title="Password reference",
        description=(
            "Id of an Airflow connection whose password becomes the administrator's. Never type the "
            "password itself, because Airflow stores what is typed here. Empty gives the account no "
            "password."
        ),
        json_schema_extra=PERSONAL,
    )
    invite: bool = Field(
        default=True,
        title="Invite",
        description=(
            "If no password reference is given, mail the administrator a link to choose a password. The "
            "link works once."
        ),
    )
    timezone: Annotated[str, AfterValidator(_known_timezone)] = Field(
        default="UTC",
        max_length=50,
        title="Time zone",
        description="IANA time zone of the firm",
        json_schema_extra={
            "examples": [
                "UTC",
                "America/New_York",
                "America/Los_Angeles",
                "Europe/London",
                "Europe/Paris",
                "Asia/Tokyo",
            ]
        },
    )
    currency: Annotated[str, AfterValidator(_known_currency)] = Field(
        default="USD",
        title="Currency",
        description="ISO 4217 code of the firm's default currency",
        json_schema_extra={"examples": ["USD", "EUR", "GBP", "CHF", "CAD", "AUD", "JPY"]},
    )
    tier: Tier = Field(default="professional", title="Tier", description="Subscription tier")
    admin_first_name: Annotated[str, AfterValidator(_one_line)] = Field(
        default="",
        max_length=150,
        title="Administrator's first name",
        description="May be empty",
        json_schema_extra=PERSONAL,
    )
    admin_last_name: Annotated[str, AfterValidator(_one_line)] = Field(
        default="",
        max_length=150,
        title="Administrator's last name",
        description="May be empty",
        json_schema_extra=PERSONAL,
    )
    max_users: int = Field(
        default=5, ge=1, le=1_000_000, title="Most users", description="Most users that the firm may have."
    )
    max_clients: int = Field(
        default=25,
        ge=1,
        le=10_000_000,
        title="Most clients",
        description="Most clients that the firm may have.",
    )
    max_storage_gb: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        title="Most storage",
        description="Most storage that the firm may use, in gigabytes.",
    )
    adopt_existing_user: bool = Field(
        default=False,
        title="Adopt existing user",
        description=(
            "If an account with this e-mail address exists, make it the new firm's administrator. Its "
            "password stays as it is."
        ),
    )

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """Check the options; one that carries a secret is refused before anything else is looked at.

        :raises OptionsError: naming the first wrong field, its problem and the fix.
        """
        for field in given:
            if field not in cls.model_fields and SECRET_LIKE.search(field):
                raise OptionsError(
                    field,
                    "a secret is never passed to a run: Airflow keeps a run's configuration in clear, readable by "
                    "everybody who may see the run",
                    "Delete this run now (in the UI, or with DELETE /api/v2/dags/provision_firm/dagRuns/RUN_ID) and "
                    "change the secret wherever it is in use; then keep it in an Airflow connection and give "
                    "admin_password_ref, or leave both out: the administrator is invited to choose a password",
                )
        return super().parse(given)

    @property
    def username(self) -> str:
        """The administrator's user name: the address in lower case, so that the database keeps it unique."""
        return self.admin_email.lower()
