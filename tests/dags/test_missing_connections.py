"""A connection that Airflow does not find: perhaps nobody made it, perhaps its API server did not answer."""

from __future__ import annotations

import pytest

from cp_ops.hooks.application_db import ApplicationDbHook
from cp_ops.hooks.kms import AwsKms, field_encryption
from cp_ops.hooks.mail import SmtpServer
from cp_ops.hooks.payment_webhook import PaymentWebhook
from cp_ops.hooks.secrets import connection_password
from cp_ops.hooks.solana_rpc import configuration_of
from cp_ops.hooks.stripe_api import StripeApiHook
from cp_ops.operators.alerts import _connection_exists
from cp_ops.operators.dags import retry_policy
from cp_ops.runtime.errors import ConnectionInvalidError, ConnectionMissingError
from cp_ops.runtime.settings import Settings

NAME = "nobody_made_it"


def open_mail():
    with SmtpServer(NAME).connect():
        pass


LOOK_UPS = {
    "database": lambda: ApplicationDbHook(NAME, application_name="test", statement_timeout=1).connect(),
    "aws": lambda: AwsKms(NAME).client,
    "master key": lambda: field_encryption(Settings(), kms_conn_id=NAME),
    "mail": open_mail,
    "solana": lambda: configuration_of(NAME),
    "stripe": lambda: StripeApiHook(NAME).get_conn(),
}


@pytest.mark.parametrize("system", LOOK_UPS)
def test_a_connection_that_is_not_found_is_named_and_tried_again(system, metadata_db):
    with pytest.raises(
        ConnectionMissingError,
        match=rf"^Airflow connection '{NAME}' is not defined, or Airflow could not read it just now: its \w+",
    ) as caught:
        LOOK_UPS[system]()
    assert action(caught.value) == "retry"


def test_a_reference_to_a_secret_is_tried_again_without_being_named(metadata_db):
    with pytest.raises(ConnectionMissingError, match="could not read it just now: option admin_p") as caught:
        connection_password("hunter2", named_by="admin_password_ref")
    assert "hunter2" not in str(caught.value)


def test_an_incomplete_connection_fails_at_once(monkeypatch, metadata_db):
    monkeypatch.setenv(f"AIRFLOW_CONN_{NAME.upper()}", '{"conn_type": "generic"}')
    for look_up in (LOOK_UPS["master key"], LOOK_UPS["stripe"], LOOK_UPS["solana"]):
        with pytest.raises(ConnectionInvalidError) as caught:
            look_up()
        assert action(caught.value) == "fail"


def test_an_optional_connection_may_be_missing(metadata_db):
    assert PaymentWebhook.of_connection(NAME) is None
    assert _connection_exists(NAME) is False


def action(error):
    """What Airflow does with a task that ends with this error."""
    return retry_policy().evaluate(exception=error, try_number=1, max_tries=2).action.value
