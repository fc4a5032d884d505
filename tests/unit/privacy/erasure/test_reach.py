"""Which rows an erasure reaches, by which keys, and where it must stop."""

from __future__ import annotations

import pytest

from cp_ops.privacy.erasure.reach import (
    WHOLE,
    followed_to_parts,
    identifying_columns,
    keys_to_rows,
    mentioning_columns,
    onward_keys,
)
from cp_ops.privacy.personal_data import load_map


@pytest.fixture
def tables():
    return load_map().tables


def ways(entry, primary_key="id"):
    return {key.column: key.via for key in keys_to_rows(entry, primary_key)}


def test_what_belongs_to_a_client_goes_whole_and_a_shared_row_by_its_key(tables):
    appointment = ways(tables["calendar_appointments"], "appointment_id")
    assert appointment["account_id"] == WHOLE
    assert appointment["contact_id"] == "contact_id"


def test_whoever_did_something_to_a_row_is_not_the_one_it_is_about(tables):
    assert "booked_by_id" not in ways(tables["calendar_appointments"], "appointment_id")


def test_a_persons_own_row_is_reached_whole_and_by_an_address_only_as_that_address(tables):
    client = ways(tables["clients_client"])
    assert client["id"] == WHOLE
    assert client["primary_contact_email"] == "primary_contact_email"


def test_a_client_as_a_whole_leads_to_the_prospect_that_it_was(tables):
    assert onward_keys(tables["clients_client"], "id", whole=True)["source_prospect_id"] == "prospect"


def test_a_row_that_was_reached_by_an_address_does_not_lead_to_a_colleague(tables):
    assert "lead_id" in onward_keys(tables["crm_prospects"], "id", whole=True)
    assert "lead_id" not in onward_keys(tables["crm_prospects"], "id", whole=False)
    assert "source_prospect_id" not in onward_keys(tables["clients_client"], "id", whole=False)


def test_a_part_that_names_its_own_person_follows_only_a_whole_parent(tables):
    attendees = tables["calendar_group_event_attendees"]
    assert followed_to_parts({WHOLE, "contact_id"}, attendees, frozenset()) == [WHOLE]


def test_a_part_that_names_nobody_follows_every_way_but_those_that_only_pass(tables):
    nobodys = tables["calendar_appointments"].model_copy(update={"keys": {}})
    assert followed_to_parts({WHOLE, "contact_id", "email"}, nobodys, frozenset({"email"})) == [
        WHOLE,
        "contact_id",
    ]


def test_identifiers_are_learned_from_what_says_who_a_person_is(tables):
    assert set(identifying_columns(tables["clients_contact"])) == {
        "email",
        "first_name",
        "last_name",
        "mobile_phone",
        "phone",
    }


def test_a_providers_payload_is_searched_for_the_person(tables):
    assert mentioning_columns(tables["finance_stripe_webhook_events"]) == ["event_data"]
