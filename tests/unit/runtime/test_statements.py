"""Named SQL: every statement has a name, a description, and parameters that are bound."""

from __future__ import annotations

import pytest
import sqlparse

from cp_ops.runtime.statements import SHOWN_AS, _parse, statement_at, statements
from tests.named_sql import FILES


def test_a_file_is_cut_into_statements():
    found = _parse(
        "demo",
        "-- What this file is for.\n\n-- name: one\n-- Gives one.\n-- And more about it.\nSELECT 1;\n\n"
        "-- name: two\n-- Gives two.\nSELECT 2\n  -- an aside\n  + 0\n",
    )
    assert [(one.name, one.description, one.text) for one in found.values()] == [
        ("one", "Gives one. And more about it.", "SELECT 1"),
        ("two", "Gives two.", "SELECT 2\n  -- an aside\n  + 0"),
    ]
    assert str(found["one"]) == "demo/one"


def test_a_statement_without_description_is_refused():
    with pytest.raises(
        ValueError, match=r"include/sql/demo\.sql: one needs a comment that says what it answers"
    ):
        _parse("demo", "-- name: one\nSELECT 1")


def test_a_name_that_is_used_twice_is_refused():
    with pytest.raises(ValueError, match=r"include/sql/demo\.sql: one is defined twice"):
        _parse("demo", "-- name: one\n-- A.\nSELECT 1\n-- name: one\n-- B.\nSELECT 2")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("finance/charges/claim_intent", "charges/claim_intent"),
        ("finance/reconciliation/stripe_comparison", "stripe/stripe_comparison"),
        ("finance/packages/package_engagements", "finance/package_engagements"),
        ("privacy/retention/count_execution", "retention/count_execution"),
        ("privacy/erasure/request_executing", "erasure/request_executing"),
        ("privacy/catalogue/catalogue_tables", "personal_data/catalogue_tables"),
        ("crm/stale_deals/open_alerts", "crm/open_alerts"),
        ("runtime/firms", "runtime/firms"),
    ],
)
def test_a_message_names_a_statement_as_messages_always_have(address, shown):
    assert str(statement_at(address)) == shown


def test_every_name_for_messages_belongs_to_a_file():
    assert set(SHOWN_AS) <= set(FILES)


def test_a_missing_name_is_an_error_that_names_the_file():
    with pytest.raises(KeyError, match=r"include/sql/runtime\.sql has no statement named nothing"):
        statements("runtime")["nothing"]


@pytest.mark.parametrize("domain", FILES)
def test_every_description_is_a_sentence_and_every_text_one_statement(domain):
    found = list(statements(domain))
    assert found
    for statement in found:
        assert statement.description.endswith(".")
        assert statement.text
        assert len(sqlparse.split(statement.text)) == 1
