"""The personal-data map against the schema that this repository ships: a new key to a person fails here."""

from __future__ import annotations

import pytest

from cp_ops.privacy.catalogue import read_catalogue
from cp_ops.privacy.personal_data import load_map
from cp_ops.runtime.database import Transaction
from cp_ops.runtime.outcome import Outcome


@pytest.fixture
def catalogue(runner):
    def read():
        with runner.connect() as connection:
            return read_catalogue(Transaction(connection, "privacy/catalogue", Outcome("test", dry_run=True)))

    return read


def test_the_map_knows_every_key_to_a_person_in_our_schema(catalogue):
    assert [str(key) for key in load_map().unmapped(catalogue())] == []


def test_the_map_knows_every_column_of_our_schema_that_promises_personal_data(catalogue):
    assert load_map().unmapped_columns(catalogue()) == []


def test_every_mapped_column_of_a_table_that_we_ship_exists(catalogue):
    found = catalogue()
    reduced = {"user_agent_hash"}
    missing = [
        f"{name}.{column}"
        for name, entry in load_map().tables.items()
        if name in found.tables
        for column in entry.named - reduced
        if column not in found.tables[name].columns
    ]
    assert missing == []


def test_a_new_key_and_a_new_table_are_noticed(catalogue, owner):
    owner.execute(
        "CREATE TABLE badges (id bigint PRIMARY KEY, user_id integer REFERENCES auth_user, owner_email text)"
    )
    owner.execute("ALTER TABLE support_tickets ADD COLUMN escalated_to_id integer REFERENCES auth_user")
    found = catalogue()
    assert [str(key) for key in load_map().unmapped(found)] == [
        "badges.user_id -> auth_user",
        "support_tickets.escalated_to_id -> auth_user",
    ]
    assert load_map().unmapped_columns(found) == [("badges", "owner_email")]


def test_the_catalogue_knows_keys_types_and_row_level_security(catalogue, enable_row_level_security, runner):
    found = catalogue()
    assert found.tables["calendar_appointments"].primary_key == "appointment_id"
    assert found.tables["documents_access_logs"].columns["ip_address"] == "inet"
    assert "email" in found.tables["auth_user"].required
    assert not found.tables["clients_client"].guarded
    guarded = enable_row_level_security()
    with guarded.connect() as connection:
        found = read_catalogue(Transaction(connection, "privacy/catalogue", Outcome("test", dry_run=True)))
    assert found.tables["clients_client"].guarded
    assert not found.tables["clients_contact"].guarded
