"""The deployment's settings: section [cp_ops] of Airflow's configuration as one typed object.

Operators read it once and pass it down; nothing else looks at configuration or environment. Secrets are not settings:
they are Airflow connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from cp_ops.runtime.errors import SettingError
from cp_ops.runtime.money import Money, parse_limits
from cp_ops.runtime.validation import first_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _limits(given: object) -> object:
    return parse_limits(given) if isinstance(given, str) else given


class Settings(BaseModel):
    """What a deployment can set. Every field is one option of section [cp_ops]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timezone: str = Field("UTC", description="IANA time zone of the DAGs' schedules.")
    frontend_url: str = Field(
        "", description="Root of the application's web pages; links in mails start with it."
    )
    default_from_email: str = Field("", description="Sender of mails.")
    alert_email: str = Field("", description="Who is mailed when a task fails; empty: nobody.")
    run_retention_days: int = Field(400, ge=30, description="How long cp_ops keeps its records of runs.")
    mail_retention_days: int = Field(30, ge=1, description="How long the outbox keeps a sent mail's text.")

    trial_days: int = Field(
        30, ge=0, description="Length of the trial that provision_firm starts; 0: without an end."
    )
    invitation_hours: int = Field(
        72,
        ge=1,
        le=720,
        description="How long an administrator's invitation can be used after it was mailed.",
    )

    webhook_retention_days: int = Field(
        180, ge=30, description="Age in days from which cleanup_webhook_events deletes processed events."
    )
    webhook_cleanup_max_deletes: int = Field(
        20_000_000, ge=0, description="Most events that one run of cleanup_webhook_events may delete."
    )

    retention_max_changes: int = Field(
        5_000_000,
        ge=0,
        description="Most rows that one run of execute_retention_policies may delete, anonymise or archive.",
    )
    erasure_journal: str = Field(
        "",
        description="File that each executed erasure is noted in, for replay_erasures after a backup was restored: on "
        "storage that is backed up apart from the database. Empty: only the database keeps the journal.",
    )

    kms_backend: Literal["local", "aws"] = Field(
        "local", description="How the application encrypts fields: a local master key or AWS KMS."
    )
    default_firm_kms_key_id: str = Field(
        "",
        description="Key id of firms whose kms_key_id is empty; the application's DEFAULT_FIRM_KMS_KEY_ID.",
    )
    s3_buckets: str = Field(
        "",
        description="Buckets that reconcile_s3 lists besides those that rows name, separated by commas: what is left "
        "in them may be orphans only.",
    )
    s3_orphan_grace_hours: int = Field(
        24, ge=0, description="An object younger than this is no orphan yet: its row may still be on the way."
    )
    s3_min_listing_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least share of a bucket's known objects that a listing must show to be believed.",
    )

    stale_deals_max_changes: int = Field(
        100_000, ge=0, description="Most deals that one run of check_stale_deals may mark or unmark."
    )

    charges_max: int = Field(
        2_000,
        ge=0,
        description="Most charges of one run of process_recurring_charges, unless the run says otherwise.",
    )
    charges_max_total: Annotated[dict[str, Money], BeforeValidator(_limits)] = Field(
        default_factory=dict,
        description="Most that one run charges per currency, such as USD=250000, EUR=200000; empty: no limit.",
    )
    charges_never_unusual: int = Field(
        25,
        ge=0,
        description="So many charges in one run are never too many, whatever is usual; their amounts may be too large.",
    )

    stripe_lookback_days: int = Field(
        45, ge=1, description="How far back reconcile_stripe lists objects, unless the run is full."
    )
    stripe_max_missing_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Largest share of the compared invoices' objects that Stripe may not know to be believed.",
    )

    prorate: bool = Field(
        default=False,
        description="Bill a package fee by days where an engagement covers only part of a billing period.",
    )
    package_invoices_max: int = Field(
        10_000, ge=0, description="Most invoices that one run of generate_package_invoices may issue."
    )
    package_invoices_max_total: Annotated[dict[str, Money], BeforeValidator(_limits)] = Field(
        default_factory=dict,
        description=(
            "Most money that one run of generate_package_invoices may invoice, per currency, such as "
            "USD=500000,EUR=400000; a currency that is not named is not limited."
        ),
    )

    views_concurrently_max_rows: int = Field(
        50_000,
        ge=0,
        description=(
            "Rows up to which refresh_materialized_views refreshes a view concurrently by itself: at 500,000 that takes "
            "5.5 times as long as a plain refresh, at 500 no longer."
        ),
    )
    solana_max_sweep_lamports: int = Field(
        1_000_000_000_000, ge=0, description="Most lamports that one run may sweep from one-time wallets."
    )
    solana_max_sweep_tokens: int = Field(
        1_000_000,
        ge=0,
        description="Most whole units of each mint that one run may sweep from one-time wallets.",
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{name!r} is not an IANA time zone") from None
        return name

    @field_validator("frontend_url")
    @classmethod
    def _absolute(cls, url: str) -> str:
        if url and not url.startswith(("https://", "http://")):
            raise ValueError("must be an absolute URL, such as https://app.example.com")
        return url.rstrip("/")

    @classmethod
    def load(cls, get: Callable[[str], str | None], environ: Mapping[str, str]) -> Self:
        """Read every setting.

        :param get: gives the text of an option of section [cp_ops], or None when it is not set.
        :param environ: the environment; WEBHOOK_RETENTION_DAYS is honoured where the option is not set, as the
            application's documentation says.
        :raises SettingError: naming the setting that is wrong.
        """
        given = {name: text for name in cls.model_fields if (text := get(name)) is not None}
        if "webhook_retention_days" not in given and (days := environ.get("WEBHOOK_RETENTION_DAYS")):
            given["webhook_retention_days"] = days
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problem = first_problem(error)
            raise SettingError(problem.field, problem.message) from None

    @classmethod
    def load_timezone(cls, get: Callable[[str], str | None]) -> str:
        """Read the one setting that a DAG file needs, whatever the others are.

        :param get: as for `load`.
        :raises SettingError: when it is not an IANA time zone.
        """
        return cls.load(lambda name: get(name) if name == "timezone" else None, {}).timezone

    def require(self, name: str, *, why: str) -> str:
        """Give a text setting that a job cannot do without.

        :raises SettingError: when it is empty.
        """
        value = getattr(self, name)
        if not value:
            raise SettingError(name, f"is empty, but {why}")
        return str(value)
