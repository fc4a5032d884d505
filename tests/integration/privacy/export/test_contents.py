"""What is in an export, and what is not."""

from __future__ import annotations

import json

import pytest

from cp_ops.privacy.personal_data import load_map


def test_a_staff_member_gets_the_account_the_membership_and_the_hours_and_no_secrets(world, export):
    firm = world.firm()
    user = firm.user("Ada", "Example", preferences={"digest": True})
    colleague = firm.user("Otto", "Other-canary")
    project = firm.client().project()
    project.time_entry(user, hours="3.00", approved_by_id=colleague.id)
    project.time_entry(colleague, description="Other-canary")
    archive = export(user)

    (account,) = archive.table("auth_user")
    assert (account["first_name"], account["email"]) == ("Ada", user.email)
    assert "password" not in account
    assert "password" in archive.tables["auth_user"]["withheld"]
    (membership,) = archive.table("firm_membership")
    assert membership["user_id"] == user.id
    (profile,) = archive.table("user_profiles")
    assert profile["notification_preferences"] == {"digest": True}
    (entry,) = archive.table("projects_time_entries")
    assert (entry["hours"], entry["approved_by_id"]) == (3.0, None), "who approved is somebody else's datum"
    assert "Other-canary" not in archive.text


def test_what_the_user_did_to_other_peoples_rows_is_a_reference_without_contents(world, export):
    firm = world.firm()
    user = firm.user()
    client = firm.client("Client-canary", account_manager_id=user.id)
    contact = client.contact("Cora", "Contact-canary", email="canary@person.example", created_by_id=user.id)
    archive = export(user)

    references = {(r["table"], r["id"], r["column"]) for r in archive.rows("references")}
    assert references == {
        ("clients_client", str(client.id), "account_manager_id"),
        ("clients_contact", str(contact.id), "created_by_id"),
    }
    assert archive.tables["clients_contact"]["rows"] == 0
    assert archive.tables["clients_contact"]["references"] == 1
    assert [r["column"] for r in archive.csv("references")] == [
        r["column"] for r in archive.rows("references")
    ]
    assert "canary" not in archive.text


def test_a_portal_user_gets_the_rows_of_the_client_and_no_colleagues(portal, export):
    archive = export(portal.user)

    assert [row["id"] for row in archive.table("finance_invoices")] == [portal.invoice.id]
    assert archive.table("finance_invoices")[0]["created_by_id"] is None
    assert [row["id"] for row in archive.table("clients_contact")] == [portal.contact.id]
    (client,) = archive.table("clients_client")
    assert client["company_name"] == "Client One"
    assert (client["primary_contact_name"], client["primary_contact_email"]) == (None, None)
    own, others = archive.table("support_tickets")
    assert (own["subject"], own["contact_name"]) == ("Own question", "Pia Portal")
    assert (others["subject"], others["contact_name"], others["contact_email"]) == (None, None, None)
    for canary in ("Cora", "cora@", "Bo Boss", "bo@person", "Stefan"):
        assert canary not in archive.text


def test_a_mail_that_the_user_wrote_to_the_firm_is_the_users(portal, export):
    def mail(firm, sender, subject):
        firm.insert("email_ingestion_artifacts", provider="gmail", external_message_id=subject, thread_id="t",
                    from_address=sender, to_addresses="stefan@ours.example", subject=subject,
                    sent_at=firm.world.now, received_at=firm.world.now)  # fmt: skip

    mail(portal.firm, "PIA@person.example", "Mine")
    mail(portal.firm, "cora@person.example", "Canary of Cora")
    mail(portal.other, "pia@person.example", "Canary of theirs")
    archive = export(portal.user)
    assert [row["subject"] for row in archive.table("email_ingestion_artifacts")] == ["Mine"]
    assert "Canary" not in archive.text


def test_the_same_address_in_another_firm_leads_nowhere(portal, export):
    """A trap: the e-mail was matched across all firms."""
    archive = export(portal.user)
    assert "Theirs-canary" not in archive.text
    assert archive.tables["crm_leads"]["rows"] == 0
    assert len(archive.table("support_tickets")) == 2


def test_an_address_in_ones_own_firm_counts_unless_another_account_bears_it(world, export):
    firm = world.firm()
    user = firm.user("Ada", email="ada@person.example")
    firm.lead("Lead", contact_email="ADA@person.example", contact_name="Ada")
    assert export(user).tables["crm_leads"]["rows"] == 1

    world.user("Somebody", "Else", email="Ada@Person.example")
    assert export(user).tables["crm_leads"]["rows"] == 0


def test_documents_come_as_metadata_of_what_the_client_sees_without_their_location(portal, export):
    shown = portal.firm.document("report.pdf", client=portal.client, visibility="client")
    portal.firm.document("internal-canary.pdf", client=portal.client, visibility="internal")
    archive = export(portal.user)

    (document,) = archive.rows("documents")
    assert (document["id"], document["name"]) == (shown.id, "report.pdf")
    assert archive.manifest["documents"] == 1
    (row,) = archive.table("documents_documents")
    assert not {"s3_key", "s3_bucket", "s3_fingerprint"} & set(row)
    assert "canary" not in archive.text


def test_documents_that_the_user_uploaded_for_others_come_without_their_names(world, export):
    firm = world.firm()
    user = firm.user()
    uploaded = firm.document("Tax return canary.pdf", client=firm.client(), uploaded_by_id=user.id)
    archive = export(user)
    (document,) = archive.rows("documents")
    assert (document["id"], document["name"], document["uploaded_by_you"]) == (uploaded.id, None, True)
    assert "canary" not in archive.text


def test_the_manifest_lists_every_table_of_the_map_the_empty_and_the_missing_ones_too(world, export, owner):
    user = world.firm().user()
    owner.execute("DROP TABLE documents_file_request_reminders, documents_file_requests CASCADE")
    archive = export(user)
    assert list(archive.tables) == list(load_map().tables)
    assert archive.tables["finance_invoices"] == {
        "table": "finance_invoices",
        "present": True,
        "rows": 0,
        "references": 0,
        "withheld": archive.tables["finance_invoices"]["withheld"],
    }
    assert archive.tables["documents_file_requests"]["present"] is False
    assert archive.tables["assets_assets"]["present"] is False


def test_every_file_is_in_the_manifest_and_a_csv_has_the_rows_of_its_twin(portal, export):
    archive = export(portal.user)
    listed = {entry["name"]: entry for entry in archive.manifest["files"]}
    assert {*listed, "manifest.json"} == set(archive.zip.namelist())
    assert "README.txt" in listed
    for name, table in archive.tables.items():
        if table["rows"]:
            rows, cells = archive.table(name), archive.csv(f"tables/{name}")
            assert len(rows) == len(cells) == table["rows"]
            assert list(rows[0]) == list(cells[0])


def test_a_key_that_the_map_does_not_know_is_reported_and_its_rows_stay_out(
    world, export, runner, owner, caplog
):
    user = world.firm().user()
    owner.execute(
        "CREATE TABLE badges (id bigint PRIMARY KEY, user_id integer REFERENCES auth_user, note text)"
    )
    owner.execute("ALTER TABLE ad_user_mapping ADD COLUMN sponsor_id integer REFERENCES auth_user")
    owner.execute("INSERT INTO badges VALUES (1, %s, 'badge-canary')", [user.id])
    archive = export(user)
    assert archive.manifest["unmapped"]["keys"] == [
        "ad_user_mapping.sponsor_id -> auth_user",
        "badges.user_id -> auth_user",
    ]
    assert "badge-canary" not in archive.text
    assert "badges.user_id -> auth_user" in caplog.text
    assert runner.last.numbers["unmapped_keys"] == 2
    assert "sponsor_id" in archive.tables["ad_user_mapping"]["withheld"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_that_a_spreadsheet_would_compute_is_escaped_in_csv_only(world, export, start):
    firm = world.firm()
    user = firm.user()
    formula = f'{start}HYPERLINK("http://evil.example","x")'
    project = firm.client().project()
    project.time_entry(user, description=formula, hours="-2.00")
    archive = export(user)
    (cell,) = archive.csv("tables/projects_time_entries")
    assert cell["description"] == "'" + formula
    assert cell["hours"] == "-2.00", "a number is not text"
    assert archive.table("projects_time_entries")[0]["description"] == formula


def test_format_narrows_the_archive(world, export):
    user = world.firm().user()
    names = export(user, format="csv").zip.namelist()
    assert "tables/auth_user.csv" in names
    assert not any(name.endswith(".jsonl") for name in names)


def test_text_with_newlines_quotes_and_control_characters_survives(world, export):
    firm = world.firm()
    user = firm.user()
    text = 'line one\nline "two"\\n, \x01\x02\x7f "" é 漢字 \u2028 end'
    firm.client().project().time_entry(user, description=text)
    archive = export(user)
    assert archive.csv("tables/projects_time_entries")[0]["description"] == text
    rows = archive.zip.read("tables/projects_time_entries.jsonl").decode().rstrip("\n").split("\n")
    assert [json.loads(row)["description"] for row in rows] == [text]
