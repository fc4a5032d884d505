"""Every named statement is one that the real schema understands: a typo fails here, not at night."""

from __future__ import annotations

import re

import psycopg
import pytest

from cp_ops.finance.views.job import count_statement, refresh_statement
from cp_ops.finance.views.options import VIEWS
from cp_ops.runtime.statements import INCLUDE, Statement, statements
from cp_ops.solana.configuration import PaymentTables
from sandbox import solana_payments
from tests.named_sql import FILES

PARAMETER = re.compile(r"%\((\w+)\)s")
PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES", "MERGE")
"""What PREPARE takes; the rest are utility statements."""
COMPOSED = [
    *(refresh_statement(view, concurrently=concurrently) for view in VIEWS for concurrently in (False, True)),
    *(count_statement(view) for view in VIEWS),
]
"""Statements put together from templates, filled as jobs fill them."""


def verb(statement: Statement) -> str:
    return statement.text.split(None, 1)[0].upper()


def named(statement: Statement) -> str:
    """The text with the names that a domain leaves open: those of the payment module's default tables."""
    return (
        statement.text.format(**PaymentTables().identifiers())
        if statement.file.startswith("solana/")
        else statement.text
    )


def prepared(statement: Statement) -> str:
    """The statement as PREPARE takes it: numbered parameters instead of named ones."""
    names = list(dict.fromkeys(PARAMETER.findall(statement.text)))
    text = PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", named(statement))
    return f"PREPARE {statement.file.replace('/', '_')}_{statement.name} AS {text.replace('%%', '%')}"


def check(connection: psycopg.Connection, statement: Statement) -> None:
    if verb(statement) in PLANNED:
        connection.execute(prepared(statement))
    elif verb(statement) == "COPY":
        with connection.cursor().copy(statement.text) as copy:
            if not re.search(r"\bFROM\s+STDIN\b", statement.text):
                copy.read()
    else:
        connection.execute(statement.text)


@pytest.fixture
def transaction(app_db):
    """A transaction of the jobs' role in which the temporary tables of every domain exist; rolled back.

    The reporting views have the unique indexes that a concurrent refresh needs.
    """
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as owner:
        owner.execute((INCLUDE / "sql" / "optional" / "corrected_views.sql").read_text(encoding="utf-8"))
    solana_payments.create_payment_tables(app_db)
    with psycopg.connect(app_db.cp_ops_dsn) as connection:
        for domain in FILES:
            for statement in statements(domain):
                if verb(statement) == "CREATE":
                    connection.execute(statement.text)
        yield connection
        connection.rollback()


def test_every_statement_of_every_domain_fits_the_schema(transaction):
    order = {"DROP": 1}
    problems = []
    everything = [
        statement for domain in FILES for statement in statements(domain) if verb(statement) != "CREATE"
    ]
    for statement in sorted(everything, key=lambda one: order.get(verb(one), 0)):
        try:
            with transaction.transaction():
                check(transaction, statement)
        except psycopg.Error as error:
            problems.append(f"{statement}: {error.diag.message_primary}")
    assert not problems, "\n".join(problems)
    assert len(everything) > 40


def test_every_filled_template_fits_the_schema(transaction):
    problems = []
    for composed in COMPOSED:
        try:
            with transaction.transaction():
                transaction.execute(composed.query)
        except psycopg.Error as error:
            problems.append(f"{composed.doing}: {error.diag.message_primary}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM crm_deals WHERE id = %(deal_id)s AND is_stail",
        "UPDATE crm_deals SET is_stale = %(stale)s WHERE firm = 1",
        "COPY seen_finding (kind, subjct) FROM STDIN",
    ],
)
def test_a_typo_is_found(transaction, text):
    with pytest.raises(psycopg.errors.UndefinedColumn):
        check(transaction, Statement("demo", "typo", text, "A typo."))
