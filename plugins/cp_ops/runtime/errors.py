"""The errors of this package, and the one table that says what each means for a row and for a task.

Own errors carry their verdict. Foreign ones (psycopg, botocore, smtplib, ...) are named in `FOREIGN` and turned into
own ones by `translate`; what is in neither fails: the table is closed by default, a new quirk is one row and one test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Verdict(StrEnum):
    """What a failure means: try the task again, give up and say so, or pass over with a reason."""

    RETRY = "retry"
    FAIL = "fail"
    SKIP = "skip"


class CpOpsError(Exception):
    """Trying again does not mend this; the error's message says what, where, and what to do.

    This is the base of the package's errors. Airflow shows the first line as the reason of its decision, for the errors
    of the domains, too.
    """

    verdict = Verdict.FAIL
    retry_delay = timedelta(minutes=1)


class OptionsError(CpOpsError):
    """An option of the command is wrong: nothing was read or written."""

    def __init__(self, field: str, problem: str, fix: str = "") -> None:
        self.field, self.problem, self.fix = field, problem, fix
        super().__init__(f"{field}: {problem}" + (f". {fix}" if fix else ""))


class SettingError(CpOpsError):
    """A setting of section [cp_ops] is wrong or missing."""

    def __init__(self, setting: str, problem: str) -> None:
        self.setting = setting
        env = f"AIRFLOW__CP_OPS__{setting.upper()}"
        super().__init__(f"[cp_ops] {setting}: {problem} (set it in airflow.cfg or as {env})")


class ConnectionInvalidError(CpOpsError):
    """An Airflow connection that the job needs is incomplete or wrong."""


class ConnectionMissingError(ConnectionInvalidError):
    """Airflow gave no connection of this id: it is not defined, or the secrets backend or API server did not answer."""

    verdict = Verdict.RETRY

    def __init__(self, conn_id: str | None, definition: str) -> None:
        """Say what the connection should be.

        :param conn_id: None where the id may be no id, but a secret that somebody put in its place.
        """
        named = f"Airflow connection {conn_id!r}" if conn_id else "an Airflow connection"
        super().__init__(f"{named} is not defined, or Airflow could not read it just now: {definition}")


class PreflightError(CpOpsError):
    """The connected database lacks what the job needs, or would hide rows from it: nothing was written."""


class CapExceededError(CpOpsError):
    """The plan is larger than its cap allows: stopped before the first effect."""


class PlanChangedError(CpOpsError):
    """The data changed since the plan was approved: nothing was done."""


class ImplausibleError(CpOpsError):
    """What an outside system answered cannot be the whole truth: stopped before anything was concluded from it."""


class LeaseLostError(CpOpsError):
    """Another run holds this command's lease now: this one must not write any more."""


class AlreadyRunningError(CpOpsError):
    """Another run of this command holds the lease."""

    verdict = Verdict.SKIP


class EarlierAttemptRunningError(CpOpsError):
    """An earlier attempt of this same task is still alive and holds the lease: nobody would report what it does."""

    verdict = Verdict.RETRY
    retry_delay = timedelta(minutes=5)


class RowFailedError(CpOpsError):
    """One row cannot be processed, ever, as it stands; the others go on."""


class RowsFailedError(CpOpsError):
    """The run went through, but some rows failed: fix them, then run again."""


class TransientRowsFailedError(RowsFailedError):
    """The run went through, but some rows failed for reasons that pass."""

    verdict = Verdict.RETRY
    retry_delay = timedelta(minutes=5)


class DatabaseUnavailableError(CpOpsError):
    """The application's database cannot be reached, or dropped the connection."""

    verdict = Verdict.RETRY


class DatabaseConflictError(CpOpsError):
    """A lock, deadlock or serialization conflict with another writer."""

    verdict = Verdict.RETRY


class StatementFailedError(CpOpsError):
    """A statement was refused by the database."""


class RemoteUnavailableError(CpOpsError):
    """An outside system did not answer, or asked to come back later."""

    verdict = Verdict.RETRY
    retry_delay = timedelta(minutes=2)


class RemoteConnectionLostError(RemoteUnavailableError):
    """The connection to an outside system broke: what was being sent may or may not have arrived."""


class RemoteRefusedError(CpOpsError):
    """An outside system refused: credentials, permissions or a request it will never accept."""


@dataclass(frozen=True)
class Foreign:
    """A row of the table: a foreign exception, and the own error that it means.

    `exception` is a dotted path, compared with the names in the exception's class hierarchy, so nothing is imported
    for it. `codes` restricts the row to botocore error codes or HTTP statuses.
    """

    exception: str
    means: type[CpOpsError]
    reason: str
    codes: frozenset[str] = frozenset()


THROTTLED = frozenset(
    {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"}
)
OUTAGE = frozenset({"500", "502", "503", "504", "InternalError", "ServiceUnavailable", "RequestTimeout"})
DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "403",
        "401",
        "AllAccessDisabled",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
    }
)

# The first row that fits decides: a subclass stands before its base, a row with codes before the one without.
FOREIGN: tuple[Foreign, ...] = (
    Foreign("psycopg.errors.SerializationFailure", DatabaseConflictError, "serialization conflict"),
    Foreign("psycopg.errors.DeadlockDetected", DatabaseConflictError, "deadlock with another writer"),
    Foreign(
        "psycopg.errors.LockNotAvailable", DatabaseConflictError, "row or table locked by another session"
    ),
    Foreign("psycopg.errors.QueryCanceled", StatementFailedError, "statement ran longer than the task may"),
    Foreign(
        "psycopg.errors.InsufficientPrivilege", StatementFailedError, "the database role lacks a privilege"
    ),
    Foreign("psycopg.errors.AdminShutdown", DatabaseUnavailableError, "database is shutting down"),
    Foreign("psycopg.OperationalError", DatabaseUnavailableError, "database not reachable"),
    Foreign("psycopg.InterfaceError", DatabaseUnavailableError, "database connection lost"),
    Foreign("psycopg.Error", StatementFailedError, "refused by the database"),
    Foreign("botocore.exceptions.ClientError", RemoteUnavailableError, "S3 or KMS throttles", THROTTLED),
    Foreign("botocore.exceptions.ClientError", RemoteUnavailableError, "S3 or KMS is unavailable", OUTAGE),
    Foreign("botocore.exceptions.ClientError", RemoteRefusedError, "access denied by S3 or KMS", DENIED),
    Foreign("botocore.exceptions.ClientError", RemoteRefusedError, "S3 or KMS refused the request"),
    Foreign("botocore.exceptions.HTTPClientError", RemoteUnavailableError, "S3 or KMS not reachable"),
    Foreign("botocore.exceptions.ConnectionError", RemoteUnavailableError, "S3 or KMS not reachable"),
    Foreign("botocore.exceptions.NoCredentialsError", RemoteRefusedError, "no AWS credentials"),
    Foreign("botocore.exceptions.BotoCoreError", RemoteRefusedError, "AWS client refused the request"),
    Foreign("smtplib.SMTPServerDisconnected", RemoteUnavailableError, "mail server closed the connection"),
    Foreign("smtplib.SMTPAuthenticationError", RemoteRefusedError, "mail server refused the credentials"),
    Foreign("smtplib.SMTPException", RemoteRefusedError, "mail server refused"),
    Foreign("stripe._error.AuthenticationError", RemoteRefusedError, "Stripe refused the API key"),
    Foreign("stripe._error.PermissionError", RemoteRefusedError, "the Stripe key lacks a permission"),
    Foreign("stripe._error.RateLimitError", RemoteUnavailableError, "Stripe asks to slow down"),
    Foreign("stripe._error.APIConnectionError", RemoteConnectionLostError, "no answer from Stripe"),
    Foreign("stripe._error.APIError", RemoteUnavailableError, "Stripe is unavailable"),
    Foreign("stripe._error.StripeError", RemoteRefusedError, "Stripe refused the request"),
    Foreign("airflow.sdk.exceptions.AirflowTaskTimeout", CpOpsError, "timed out"),
    Foreign("builtins.ConnectionError", RemoteUnavailableError, "connection refused or lost"),
    Foreign("builtins.TimeoutError", RemoteUnavailableError, "no answer in time"),
)


def translate(error: BaseException, *, doing: str = "") -> CpOpsError:
    """Turn any exception into one of ours, without the values that its message may carry.

    :param error: what was raised; an own error comes back as it is.
    :param doing: what was being done, such as a statement's name; becomes the start of the message.
    """
    if isinstance(error, CpOpsError):
        return error
    rule = _rule_for(error)
    unlisted = "unexpected error" if isinstance(error, Exception) else "interrupted"
    means, reason = (rule.means, rule.reason) if rule else (CpOpsError, unlisted)
    return means(": ".join(part for part in (doing, f"{reason} ({describe(error)})") if part))


def describe(error: BaseException) -> str:
    """Name an exception by class, SQLSTATE, constraint or error code: never by its message, which may hold values."""
    parts = [type(error).__name__]
    if sqlstate := getattr(error, "sqlstate", None):
        parts.append(str(sqlstate))
    diagnostics = getattr(error, "diag", None)
    names = ("table", "column", "constraint")
    parts.extend(f"{name} {value}" for name in names if (value := getattr(diagnostics, f"{name}_name", None)))
    parts.extend(sorted(_codes(error) - {""}))
    parts.extend(_stripe_codes(error))
    return " ".join(parts)


def _rule_for(error: BaseException) -> Foreign | None:
    names = set(_names(type(error)))
    codes = _codes(error)
    return next(
        (rule for rule in FOREIGN if rule.exception in names and (not rule.codes or rule.codes & codes)), None
    )


def _names(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        yield f"{base.__module__}.{base.__qualname__}"


def _codes(error: BaseException) -> set[str]:
    # botocore keeps both: S3 names an error in its body, and a HEAD request's answer has the status only.
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return set()
    return {
        str(response.get("Error", {}).get("Code", "")),
        str(response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")),
    }


_PERMISSION = re.compile(r"rak_\w+")


def _stripe_codes(error: BaseException) -> Iterator[str]:
    """Give what Stripe says of an error in words of its own vocabulary: status, code, parameter, permission, request."""
    if type(error).__module__ != "stripe._error":
        return
    for name in ("http_status", "code", "param", "request_id"):
        if value := getattr(error, name, None):
            yield str(value)
    yield from _PERMISSION.findall(str(error))


def all_errors() -> list[type[CpOpsError]]:
    """Every error class of the package, subclasses before their bases, for a rule table that stops at the first match."""
    found: list[type[CpOpsError]] = []

    def visit(cls: type[CpOpsError]) -> None:
        for sub in cls.__subclasses__():
            visit(sub)
        found.append(cls)

    visit(CpOpsError)
    return found
