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

    timezone: str = Field(
        "UTC",
        description="IANA time zone in which the DAGs' schedule times are read, for example "
        "Europe/Paris. The days of a firm follow the firm's own time zone instead.",
    )
    frontend_url: str = Field(
        "",
        description="Absolute URL of the application's web pages, with which the links in mails begin. "
        "process_recurring_charges and the invitations of provision_firm fail without it.",
    )
    default_from_email: str = Field(
        "",
        description="From address of every mail, read at the time of sending. process_recurring_charges "
        "and the invitations of provision_firm fail without it.",
    )
    alert_email: str = Field(
        "",
        description="Address that gets a mail when a task has failed for good, through connection "
        "smtp_default. Empty sends no such mail.",
    )
    run_retention_days: int = Field(
        400,
        ge=30,
        description="Days, at least 30, after which cp_ops_housekeeping deletes finished runs and "
        "resolved findings. Raise it to keep their history longer.",
    )
    mail_retention_days: int = Field(
        30,
        ge=1,
        description="Days after sending or giving up until the outbox removes the address and text of a "
        "mail. After that the mail cannot be redelivered.",
    )

    trial_days: int = Field(
        30,
        ge=0,
        description="Days of trial of a firm that provision_firm creates. With 0 the trial has no end.",
    )
    invitation_hours: int = Field(
        72,
        ge=1,
        le=720,
        description="Hours, at most 720, for which the invitation of an administrator works after its "
        "mail was sent. After that, provision_firm run again sends a new one.",
    )

    webhook_retention_days: int = Field(
        180,
        ge=30,
        description="Days, at least 30, after which cleanup_webhook_events deletes processed events. "
        "Option days replaces it for one run.",
    )
    webhook_cleanup_max_deletes: int = Field(
        20_000_000,
        ge=0,
        description="Most events that one run of cleanup_webhook_events may delete. A larger plan stops "
        "before the first deletion, so raise it for a first run over a large backlog.",
    )

    retention_max_changes: int = Field(
        5_000_000,
        ge=0,
        description="Most rows that one run of execute_retention_policies may archive, anonymise or "
        "delete, over all policies. A larger plan stops before the first change, so raise it "
        "for a first run over a large backlog.",
    )
    erasure_journal: str = Field(
        "",
        description="Path of the file that notes each executed erasure for replay_erasures, on storage "
        "that is backed up apart from the database. Empty keeps the journal only in the "
        "database, where a restored backup loses its newest entries.",
    )

    kms_backend: Literal["local", "aws"] = Field(
        "local",
        description="How the application encrypts its fields, either with a local master key (local, "
        "connection cp_kms) or with AWS KMS (aws, connection cp_s3). Set what the "
        "application itself uses.",
    )
    default_firm_kms_key_id: str = Field(
        "",
        description="Id of the encryption key of firms whose kms_key_id is empty. Set it to the "
        "application's DEFAULT_FIRM_KMS_KEY_ID.",
    )
    s3_buckets: str = Field(
        "",
        description="Further buckets that reconcile_s3 lists in runs over all firms, separated by "
        "commas. Name buckets that no row refers to any more, because what is left in them "
        "may be orphans.",
    )
    s3_orphan_grace_hours: int = Field(
        24,
        ge=0,
        description="Hours for which reconcile_s3 does not call a new object an orphan, because its row "
        "may still be on the way. Raise it if the application takes longer to record an "
        "upload.",
    )
    s3_min_listing_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="If a listing shows less than this share (0 to 1) of a bucket's known objects, "
        "reconcile_s3 stops instead of reporting the rest as missing. Lower it for one run "
        "if the objects are really lost.",
    )

    stale_deals_max_changes: int = Field(
        100_000,
        ge=0,
        description="Most deals that one run of check_stale_deals may mark or unmark. A larger plan "
        "stops before the first change, so raise it once a dry run has shown that the "
        "changes are right.",
    )

    charges_max: int = Field(
        2_000,
        ge=0,
        description="Most invoices that one run of process_recurring_charges may charge, unless option "
        "max_charges is given. A larger plan stops before the first new charge.",
    )
    charges_max_total: Annotated[dict[str, Money], BeforeValidator(_limits)] = Field(
        default_factory=dict,
        description="Most money that one run of process_recurring_charges may charge per currency, for "
        "example USD=250000, EUR=200000, unless option max_total is given. A larger plan "
        "stops before the first new charge, and a currency that is not named has no limit.",
    )
    charges_never_unusual: int = Field(
        25,
        ge=0,
        description="Runs of process_recurring_charges with at most this many charges skip the check for "
        "an unusual number of charges. Unusually large amounts can still stop them.",
    )

    stripe_lookback_days: int = Field(
        45,
        ge=1,
        description="Days back over which reconcile_stripe lists the objects of Stripe, unless the run "
        "is full. A longer window compares more and takes more calls.",
    )
    stripe_max_missing_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share (0 to 1) of the objects asked for that Stripe may not know before "
        "reconcile_stripe and process_recurring_charges stop and suspect a key of another "
        "account. Raise it for one run if the objects are really gone.",
    )

    prorate: bool = Field(
        default=False,
        description="If on, a package fee is billed by days where the engagement covers only part of a "
        "billing period. If off, the whole fee is billed.",
    )
    package_invoices_max: int = Field(
        10_000,
        ge=0,
        description="Most invoices that one run may issue, of generate_package_invoices or of the first "
        "task of process_recurring_charges. A larger plan stops before the first invoice.",
    )
    package_invoices_max_total: Annotated[dict[str, Money], BeforeValidator(_limits)] = Field(
        default_factory=dict,
        description="Most money that one run may invoice for package fees per currency, for example "
        "USD=500000,EUR=400000. A larger plan stops before the first invoice, and a currency "
        "that is not named has no limit.",
    )

    views_concurrently_max_rows: int = Field(
        50_000,
        ge=0,
        description="Largest view, in rows, that refresh_materialized_views refreshes concurrently when "
        "its option concurrently is auto. At 500,000 rows a concurrent refresh takes 5.5 "
        "times as long as a plain one, at 500 rows no longer.",
    )
    solana_max_sweep_lamports: int = Field(
        1_000_000_000_000,
        ge=0,
        description="Most lamports that one run of a Solana command may sweep from one-time wallets "
        "(1,000,000,000 are one SOL). A larger plan stops before the first transfer.",
    )
    solana_max_sweep_tokens: int = Field(
        1_000_000,
        ge=0,
        description="Most whole units of each mint that one run of a Solana command may sweep from "
        "one-time wallets. A larger plan stops before the first transfer.",
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
