"""The templates of cleanup_webhook_events, filled for every provider."""

from __future__ import annotations

import pytest

from cp_ops.privacy.webhook_cleanup.events import backlog_statement, deletion_statement
from cp_ops.privacy.webhook_cleanup.providers import PROVIDERS
from tests.integration.privacy.prepared import prepare


@pytest.mark.parametrize("provider", PROVIDERS)
def test_both_statements_of_every_provider_fit_the_schema(runner, provider):
    with runner.connect() as connection:
        prepare(connection, backlog_statement(provider).query)
        prepare(connection, deletion_statement(provider).query)


def test_a_failing_statement_is_called_by_its_provider():
    assert {provider: backlog_statement(provider).doing for provider in PROVIDERS} == {
        provider: f"privacy/{provider}_backlog" for provider in PROVIDERS
    }
    assert {provider: deletion_statement(provider).doing for provider in PROVIDERS} == {
        provider: f"privacy/delete_{provider}_events" for provider in PROVIDERS
    }
