"""The sandbox's payment tables are the real ones: django-solana-payments' own migrations make the same catalogue."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from sandbox import application, solana_payments
from tests.peer.environment import run_peer

CATALOGUE = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        WHERE c.relkind = 'r' AND c.relname LIKE 'django_solana_payments%' AND a.attnum > 0
        ORDER BY 1, 2""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, condeferrable, condeferred, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE conrelid::regclass::text LIKE 'django_solana_payments%' AND contype <> 'n'
        ORDER BY 1, 2""",
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes
        WHERE tablename LIKE 'django_solana_payments%' ORDER BY 1, 2""",
}


@pytest.fixture
def catalogues(postgres, app_db):
    """What the catalogue says of the tables: by the module's migrations, and by our script."""
    solana_payments.create_payment_tables(app_db)
    owner = conninfo_to_dict(app_db.owner_dsn)
    theirs = f"{app_db.name}_peer"
    postgres.create_database(theirs, owner=application.OWNER)
    dsn = postgres.dsn(theirs, owner["user"], owner["password"])
    run_peer("migrate.py", environment={"PEER_DATABASE": dsn})
    found = []
    for database in (dsn, app_db.owner_dsn):
        with psycopg.connect(database) as connection:
            found.append({what: connection.execute(query).fetchall() for what, query in CATALOGUE.items()})
    yield found
    postgres.drop_database(theirs)


def test_the_catalogue_is_the_one_that_the_modules_own_migrations_make(catalogues):
    theirs, ours = catalogues
    for what in CATALOGUE:
        assert len(theirs[what]) > 10
        assert ours[what] == theirs[what]
