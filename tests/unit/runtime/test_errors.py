"""The table that says what an exception means, for a row and for a task."""

from __future__ import annotations

import smtplib

import botocore.exceptions
import psycopg
import pytest

from cp_ops.runtime import errors
from cp_ops.runtime.errors import (
    FOREIGN,
    CpOpsError,
    DatabaseConflictError,
    DatabaseUnavailableError,
    OptionsError,
    RemoteRefusedError,
    RemoteUnavailableError,
    RowFailedError,
    SettingError,
    StatementFailedError,
    Verdict,
    all_errors,
    describe,
    translate,
)


def client_error(code, status=400):
    answer = {"Error": {"Code": code, "Message": "secret"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(answer, "GetObject")


@pytest.mark.parametrize(
    ("error", "means", "verdict"),
    [
        (psycopg.errors.SerializationFailure(), DatabaseConflictError, Verdict.RETRY),
        (psycopg.errors.DeadlockDetected(), DatabaseConflictError, Verdict.RETRY),
        (psycopg.errors.LockNotAvailable(), DatabaseConflictError, Verdict.RETRY),
        (psycopg.errors.QueryCanceled(), StatementFailedError, Verdict.FAIL),
        (psycopg.errors.InsufficientPrivilege(), StatementFailedError, Verdict.FAIL),
        (psycopg.errors.AdminShutdown(), DatabaseUnavailableError, Verdict.RETRY),
        (psycopg.errors.CannotConnectNow(), DatabaseUnavailableError, Verdict.RETRY),
        (psycopg.errors.UniqueViolation(), StatementFailedError, Verdict.FAIL),
        (psycopg.OperationalError("server closed the connection"), DatabaseUnavailableError, Verdict.RETRY),
        (psycopg.InterfaceError("the connection is closed"), DatabaseUnavailableError, Verdict.RETRY),
        (client_error("SlowDown", 503), RemoteUnavailableError, Verdict.RETRY),
        (client_error("ThrottlingException"), RemoteUnavailableError, Verdict.RETRY),
        (client_error("Whatever", 502), RemoteUnavailableError, Verdict.RETRY),
        (client_error("AccessDenied", 403), RemoteRefusedError, Verdict.FAIL),
        (client_error("NoSuchBucket", 404), RemoteRefusedError, Verdict.FAIL),
        (
            botocore.exceptions.EndpointConnectionError(endpoint_url="x"),
            RemoteUnavailableError,
            Verdict.RETRY,
        ),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="x"), RemoteUnavailableError, Verdict.RETRY),
        (botocore.exceptions.NoCredentialsError(), RemoteRefusedError, Verdict.FAIL),
        (botocore.exceptions.ParamValidationError(report="x"), RemoteRefusedError, Verdict.FAIL),
        (smtplib.SMTPServerDisconnected("gone"), RemoteUnavailableError, Verdict.RETRY),
        (smtplib.SMTPAuthenticationError(535, b"no"), RemoteRefusedError, Verdict.FAIL),
        (ConnectionRefusedError(111, "refused"), RemoteUnavailableError, Verdict.RETRY),
        (TimeoutError(), RemoteUnavailableError, Verdict.RETRY),
        (KeyError("x"), CpOpsError, Verdict.FAIL),
        (ZeroDivisionError(), CpOpsError, Verdict.FAIL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_foreign_exception_means(error, means, verdict):
    meaning = translate(error)
    assert type(meaning) is means
    assert meaning.verdict is verdict


def test_an_own_error_keeps_its_verdict():
    error = RowFailedError("no")
    assert translate(error) is error


def test_a_meaning_names_what_was_done_and_no_value():
    with pytest.raises(psycopg.errors.Error) as caught:
        raise psycopg.errors.UniqueViolation("duplicate key (email)=(jane@example.com)")
    meaning = translate(caught.value, doing="crm/open_alerts")
    assert str(meaning) == "crm/open_alerts: refused by the database (UniqueViolation 23505)"
    assert "jane" not in describe(caught.value)
    assert "secret" not in str(translate(client_error("AccessDenied", 403)))
    assert str(translate(KeyError("jane"), doing="check")) == "check: unexpected error (KeyError)"


def test_every_row_of_the_table_can_be_reached():
    """A row behind a more general one would never be read."""
    for number, rule in enumerate(FOREIGN):
        module, _, name = rule.exception.rpartition(".")
        raised = getattr(__import__(module, fromlist=[name]), name)
        hidden_by = [
            earlier.exception
            for earlier in FOREIGN[:number]
            if not earlier.codes
            and earlier.exception in {f"{base.__module__}.{base.__qualname__}" for base in raised.__mro__}
        ]
        assert hidden_by == []


def test_every_row_of_the_table_names_an_exception_as_its_class_does():
    for rule in FOREIGN:
        module, _, name = rule.exception.rpartition(".")
        raised = getattr(__import__(module, fromlist=[name]), name)
        assert f"{raised.__module__}.{raised.__qualname__}" == rule.exception


def test_subclasses_come_before_their_bases_so_that_the_first_match_is_the_closest():
    found = all_errors()
    assert found[-1] is CpOpsError
    for number, cls in enumerate(found):
        assert not any(issubclass(later, cls) for later in found[number + 1 :])
    own = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, CpOpsError)
    ]
    assert set(own) <= set(found)


def test_every_error_says_what_it_is_in_one_line():
    for error in all_errors():
        assert error.__doc__
        assert error.__doc__.splitlines()[0].endswith(".")


def test_messages_for_the_operator():
    assert str(OptionsError("days", "is wrong", "Use 30")) == "days: is wrong. Use 30"
    assert str(OptionsError("days", "is wrong")) == "days: is wrong"
    assert str(SettingError("timezone", "is empty")) == (
        "[cp_ops] timezone: is empty (set it in airflow.cfg or as AIRFLOW__CP_OPS__TIMEZONE)"
    )
