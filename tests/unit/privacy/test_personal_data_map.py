"""The personal-data map: complete, consistent, and honest about what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from cp_ops.privacy.catalogue import Catalogue, CatalogueTable, ForeignKey
from cp_ops.privacy.personal_data import Erasure, Export, PersonalDataMapError, Role, load_map

APPLICATION = Path(__file__).with_name("application_personal_data.txt")
"""Every key to a person and every personal column of the application, also of tables not shipped here."""

SMALL = """
version: 1
subjects: {user: auth_user}
reasons: {structure: s, identity: i, others: o}
tables:
  auth_user:
    keys: {id: {names: user, role: about, export: rows}}
    columns: {email: {erasure: pseudonymise, export: true, why: identity}}
  notes:
    keys: {author_id: {names: user, role: author, export: none, why: others}}
"""


@pytest.fixture
def small(tmp_path):
    def write(text=SMALL):
        path = tmp_path / "personal_data.yaml"
        path.write_text(text)
        return path

    return write


def application(kind):
    lines = (line.split() for line in APPLICATION.read_text().splitlines() if not line.startswith("#"))
    return [fields[1:] for fields in lines if fields and fields[0] == kind]


def test_every_key_to_a_person_in_the_whole_application_is_known():
    mapped = load_map()
    missing = [
        (table, column, subject)
        for table, column, subject in application("key")
        if table not in mapped.tables
        or column not in mapped.tables[table].keys
        or mapped.tables[table].keys[column].names != subject
    ]
    assert missing == []
    assert len(application("key")) == 268


def test_every_personal_column_of_the_whole_application_is_known():
    mapped = load_map()
    missing = [
        (table, column)
        for table, column in application("column")
        if table not in mapped.tables or column not in mapped.tables[table].columns
    ]
    assert missing == []
    assert len(application("column")) == 110


def test_every_treatment_has_its_reason_in_words():
    mapped = load_map()
    for name, entry in mapped.tables.items():
        for column, treated in {**entry.columns, **entry.keys}.items():
            assert len(mapped.reasons[treated.why]) > 20, (name, column)


def test_secrets_are_never_exported():
    credentials = [
        column
        for entry in load_map().tables.values()
        for column in entry.columns.values()
        if column.why == "credential"
    ]
    assert len(credentials) >= 10
    assert not any(column.export for column in credentials)


def test_books_and_proof_are_kept_and_identity_is_not():
    for name, entry in load_map().tables.items():
        for column, treated in entry.columns.items():
            if treated.why in ("ledger", "contract", "accountability", "suppression", "consent_proof"):
                assert treated.erasure is Erasure.KEEP, (name, column)
            if treated.why == "identity":
                assert treated.erasure is not Erasure.KEEP, (name, column)


def keys_naming(mapped, subject):
    return [
        (table, column, key)
        for table, entry in mapped.tables.items()
        for column, key in entry.keys.items()
        if key.names == subject
    ]


def test_what_a_person_did_to_somebodys_row_is_never_exported_as_the_row():
    for table, column, key in keys_naming(load_map(), "user"):
        if key.role is Role.AUTHOR:
            assert key.export is not Export.ROWS, (table, column)


def test_another_persons_row_that_leads_to_a_person_never_makes_that_row_the_persons():
    """A contact whose address a prospect bears is not the client that the prospect became."""
    mapped = load_map()
    for subject, table in mapped.subjects.items():
        unsure = {
            column
            for column, key in mapped.tables[table].keys.items()
            if key.export is Export.NONE and key.names != subject
        }
        assert unsure <= mapped.passing(table), table
    assert {"source_prospect_id", "primary_contact_email"} <= mapped.passing("clients_client")
    assert "lead_id" in mapped.passing("crm_prospects")
    assert "id" not in mapped.passing("crm_leads"), "a row's own key is the row"


def test_a_value_that_mentions_a_person_does_not_make_the_row_the_persons():
    mapped = load_map()
    for name, entry in mapped.tables.items():
        mentions = {column for column, treated in entry.columns.items() if treated.mentions}
        assert mentions <= mapped.passing(name), name
    assert "event_data" in mapped.passing("finance_stripe_webhook_events")


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [
        ("names: user, role: author", "names: nobody, role: author", "notes.author_id names 'nobody'"),
        (
            "export: none, why: others",
            "export: none",
            "notes.author_id is not exported, but does not say why",
        ),
        ("why: identity", "why: mood", "reasons mood are not defined"),
        ("others: o}", "others: o, spare: x}", "reasons spare are not used"),
        ("why: identity}", "why: identity, whose: [owner_id]}", "whose owner_id is no key of the table"),
        ("erasure: pseudonymise", "erasure: shred", "columns.email.erasure"),
        (
            "erasure: pseudonymise, export: true",
            "erasure: keep, export: true, mentions: true",
            "auth_user.email: what is kept, or is a key, is not erased for what it mentions",
        ),
        ("  notes:", "  aaa_notes:", "not in alphabetical order"),
        ("role: about", "role: about, colour: red", "keys.id.colour"),
    ],
)
def test_a_contradiction_is_named(small, right, wrong, complaint):
    assert right in SMALL
    with pytest.raises(PersonalDataMapError, match=complaint.replace(".", r"\.")):
        load_map(small(SMALL.replace(right, wrong, 1)))


def test_an_unknown_key_to_a_person_is_reported(small):
    mapped = load_map(small())
    known = ForeignKey("notes", "author_id", "auth_user")
    new_column = ForeignKey("notes", "reader_id", "auth_user")
    new_table = ForeignKey("badges", "user_id", "auth_user")
    elsewhere = ForeignKey("badges", "colour_id", "colours")
    catalogue = Catalogue({}, (known, new_column, new_table, elsewhere))
    assert mapped.unmapped(catalogue) == [new_table, new_column]


def test_an_unknown_column_that_promises_personal_data_is_reported(small):
    mapped = load_map(small())
    badges = CatalogueTable(
        "badges", {"id": "bigint", "holder_email": "text", "email_verified": "boolean", "shape": "text"}, "id"
    )
    users = CatalogueTable("auth_user", {"id": "integer", "email": "text"}, "id")
    catalogue = Catalogue({"badges": badges, "auth_user": users})
    assert mapped.unmapped_columns(catalogue) == [("badges", "holder_email")]


def test_a_table_or_column_that_the_database_lacks_is_left_out(small):
    mapped = load_map(small())
    catalogue = Catalogue({"auth_user": CatalogueTable("auth_user", {"id": "integer"}, "id")})
    present = mapped.present(catalogue)
    assert list(present) == ["auth_user"]
    assert present["auth_user"][0].columns == {}


def test_a_value_that_cannot_be_told_to_be_the_persons_own_is_not_exported(small):
    text = SMALL.replace("why: identity}", "why: identity, whose: [id]}")
    catalogue = Catalogue(
        {"auth_user": CatalogueTable("auth_user", {"uid": "integer", "email": "text"}, "uid")}
    )
    entry, _ = load_map(small(text)).present(catalogue)["auth_user"]
    assert entry.columns["email"].export is False
