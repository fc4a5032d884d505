"""export_user_data against a real database, folders and S3."""

from __future__ import annotations

import csv
import io
import json
import stat
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cp_ops.hooks.s3 import S3
from cp_ops.privacy.export.archive import ArchiveVerificationError
from cp_ops.privacy.export.destination import DestinationError
from cp_ops.privacy.export.job import ExportUserData
from cp_ops.privacy.personal_data import load_map
from cp_ops.runtime.errors import AlreadyRunningError, OptionsError, RemoteRefusedError
from tests.integration.killed import let_leases_expire, run_killed_at
from tests.integration.privacy.dumps import dump

STEPS = {
    "contents written": "cp_ops.privacy.export.archive:ArchiveWriter.finish",
    "access recorded": "cp_ops.privacy.export.job:ExportUserData._record",
    "archive named": "cp_ops.privacy.export.destination:Folder.publish",
}


class NoStore:
    """Folders need no store."""

    calls = 0


class Archive:
    """A finished archive, opened."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.zip = zipfile.ZipFile(io.BytesIO(data))
        self.manifest = json.loads(self.zip.read("manifest.json"))
        self.tables = {table["table"]: table for table in self.manifest["tables"]}

    @property
    def text(self) -> str:
        return "".join(self.zip.read(name).decode() for name in self.zip.namelist())

    def rows(self, name):
        path = f"{name}.jsonl"
        if path not in self.zip.namelist():
            return []
        return [json.loads(line) for line in self.zip.read(path).decode().splitlines()]

    def table(self, name):
        return self.rows(f"tables/{name}")

    def csv(self, name):
        return list(csv.DictReader(io.StringIO(self.zip.read(f"{name}.csv").decode(), newline="")))


@pytest.fixture
def exports(tmp_path):
    return tmp_path / "exports"


@pytest.fixture
def export(runner, exports):
    """Export a user into a folder and open the archive."""

    def run(user, *, runner=runner, **options):
        outcome = runner(ExportUserData(NoStore()), user_id=user.id, output_dir=str(exports), **options)
        return Archive(Path(outcome.numbers["archive"]).read_bytes())

    return run


@pytest.fixture
def portal(world):
    """A portal user of one client in a firm, with colleagues, and another firm that knows the same address."""

    class Portal:
        firm = world.firm("Ours")
        other = world.firm("Theirs")
        user = world.user("Pia", "Portal", email="Pia@person.example")
        staff = firm.user("Stefan", "Staff", email="stefan@ours.example")

    p = Portal()
    p.client = p.firm.client(
        "Client One", primary_contact_name="Bo Boss", primary_contact_email="bo@person.example"
    )
    p.portal_id = p.client.portal_user(p.user)
    p.contact = p.client.contact("Pia", "Portal", email="pia@person.example", portal_user_id=p.portal_id)
    p.colleague = p.client.contact("Cora", "Colleague", email="cora@person.example")
    p.invoice = p.client.invoice("120.00", created_by_id=p.staff.id)
    p.client.ticket("Own question", contact_email="pia@person.example", contact_name="Pia Portal")
    p.client.ticket("Secret of Cora", contact_email="cora@person.example", contact_name="Cora Colleague")
    theirs = p.other.client("Their client", primary_contact_email="pia@person.example")
    theirs.contact("Pia", "Theirs-canary", email="pia@person.example")
    theirs.ticket("Theirs-canary", contact_email="pia@person.example", contact_name="Pia Theirs-canary")
    p.other.lead("Theirs-canary", contact_email="pia@person.example", contact_name="Theirs-canary")
    return p


# -- what is in it ---------------------------------------------------------------------------------------------------


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


# -- how it comes about ----------------------------------------------------------------------------------------------


def test_the_same_data_gives_the_same_bytes(portal, export):
    assert export(portal.user).data == export(portal.user).data


def test_the_export_is_of_one_moment(world, runner, exports, owner, monkeypatch):
    """Rows written while the export runs, or taken away, change nothing in it."""
    firm = world.firm()
    user = firm.user()
    project = firm.client().project()
    project.time_entry(user)
    from cp_ops.privacy.export.contents import Collector

    find = Collector.find

    def find_then_change(self, person):
        contents = find(self, person)
        project.time_entry(user, description="late-canary")
        owner.execute("UPDATE auth_user SET first_name = 'late-canary' WHERE id = %s", [user.id])
        return contents

    monkeypatch.setattr(Collector, "find", find_then_change)
    outcome = runner(ExportUserData(NoStore()), user_id=user.id, output_dir=str(exports))
    archive = Archive(Path(outcome.numbers["archive"]).read_bytes())
    assert archive.tables["projects_time_entries"]["rows"] == 1
    assert "late-canary" not in archive.text


def test_row_level_security_changes_nothing_in_the_archive(portal, export, enable_row_level_security):
    portal.firm.document("report.pdf", client=portal.client, visibility="client")
    portal.other.member(portal.user)
    before = export(portal.user)
    guarded = enable_row_level_security()
    after = export(portal.user, runner=guarded)
    assert after.manifest["tables"] == before.manifest["tables"]
    assert after.data == before.data


def test_the_archive_is_the_workers_own_and_nothing_else_is_left(world, export, exports):
    export(world.firm().user())
    (archive,) = exports.iterdir()
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert stat.S_IMODE(exports.stat().st_mode) == 0o700


def test_two_exports_in_one_second_are_two_archives(world, runner, exports, monkeypatch):
    user = world.firm().user()
    runner.now = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    for _ in range(2):
        runner(ExportUserData(NoStore()), user_id=user.id, output_dir=str(exports))
    assert len(list(exports.iterdir())) == 2


def test_an_archive_that_is_there_is_never_replaced(world, runner, exports):
    user = world.firm().user()
    runner.now = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    with runner.connect() as connection:
        next_run = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM cp_ops.job_run").fetchone()[0]
    exports.mkdir()
    taken = exports / f"user-{user.id}-export-20261121T030000Z-run{next_run}.zip"
    taken.write_text("somebody else's")
    with pytest.raises(DestinationError, match="File exists"):
        runner(ExportUserData(NoStore()), user_id=user.id, output_dir=str(exports))
    assert taken.read_text() == "somebody else's"
    assert list(exports.iterdir()) == [taken]


def test_a_dry_run_plans_the_same_and_writes_no_file(portal, runner, exports, written):
    before = written()
    preview = runner(ExportUserData(NoStore()), user_id=portal.user.id, output_dir=str(exports), dry_run=True)
    changed = {table for table, rows in written().items() if rows != before.get(table, 0)}
    assert changed == {"cp_ops.job_run"}
    assert not exports.exists()
    real = runner(ExportUserData(NoStore()), user_id=portal.user.id, output_dir=str(exports))
    assert preview.plan_sha256 == real.plan_sha256
    assert (preview.planned, preview.done) == (real.planned, 0)
    assert real.done == real.planned


def test_only_an_audit_event_in_the_users_firms_is_written(portal, export, owner, runner):
    everything, theirs = dump(owner), dump(owner, firm_id=portal.other.id)
    export(portal.user)
    assert dump(owner, firm_id=portal.other.id) == theirs
    after = dump(owner)
    events = after.pop("firm_audit_events")
    assert {**after, "firm_audit_events": everything["firm_audit_events"]} == everything
    assert len(events) == 1
    firm_id, category, target, metadata = owner.execute(
        "SELECT firm_id, category, target_model || ':' || target_id, metadata FROM firm_audit_events"
    ).fetchone()
    assert (firm_id, category, target) == (portal.firm.id, "DATA_ACCESS", f"auth.User:{portal.user.id}")
    assert metadata["sha256"] == runner.last.numbers["archive_sha256"]
    assert "person.example" not in events[0]


def test_a_user_of_no_firm_is_exported_and_the_outcome_says_that_nobody_was_told(world, export, runner):
    archive = export(world.user())
    assert len(archive.table("auth_user")) == 1
    assert "belongs to no firm" in next(iter(runner.last.skip_reasons))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_dir": "exports"}, "output_dir: is a relative path"),
        ({"output_dir": "s3:///prefix"}, "output_dir: is not an S3 URI"),
        ({"output_dir": "gs://bucket/x"}, "output_dir: gs:// is not supported"),
        ({"output_dir": f"{__file__}/x"}, f"output_dir: {__file__} is not a folder"),
        ({"user_id": 999999}, "user_id: user 999999 does not exist"),
        ({"user_id": 0}, "user_id: input should be greater than 0"),
        ({"format": "pdf"}, "format: "),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    world, runner, exports, written, options, message
):
    user = world.firm().user()
    before = written()
    with pytest.raises(OptionsError) as refused:
        runner(ExportUserData(NoStore()), **{"user_id": user.id, "output_dir": str(exports)} | options)
    assert str(refused.value).startswith(message)
    assert {table for table, rows in written().items() if rows != before[table]} <= {"cp_ops.job_run"}
    assert not exports.exists()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_killed_run_leaves_no_archive_without_a_record_and_the_next_one_cleans_up(
    world, export, exports, owner, runner, step, before
):
    user = world.firm().user()
    assert run_killed_at(lambda: export(user), STEPS[step], before=before)
    recorded = owner.execute("SELECT count(*) FROM firm_audit_events").fetchone()[0]
    finished = list(exports.glob("[!.]*.zip"))
    assert len(finished) <= recorded
    let_leases_expire(runner)
    export(user)
    assert not list(exports.glob(".*"))
    assert len(list(exports.iterdir())) == len(finished) + 1


def test_a_second_run_for_the_same_user_is_passed_over_and_other_users_are_not(
    world, runner, exports, monkeypatch
):
    firm = world.firm()
    user, other = firm.user(), firm.user()
    from cp_ops.privacy.export.contents import Collector

    find, seen = Collector.find, []

    def meanwhile(self, person):
        if not seen:
            seen.append(person.user_id)
            with pytest.raises(AlreadyRunningError):
                runner(ExportUserData(NoStore()), user_id=user.id, output_dir=str(exports))
            runner(ExportUserData(NoStore()), user_id=other.id, output_dir=str(exports))
        return find(self, person)

    monkeypatch.setattr(Collector, "find", meanwhile)
    runner(ExportUserData(NoStore()), user_id=user.id, output_dir=str(exports))
    assert len(list(exports.iterdir())) == 2


# -- S3 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(s3):
    return S3(client=s3.client)


def test_an_archive_in_s3_is_encrypted_and_the_same_as_in_a_folder(portal, runner, export, store, s3):
    in_folder = export(portal.user)
    outcome = runner(ExportUserData(store), user_id=portal.user.id, output_dir=f"s3://{s3.name}/requests/")
    uri = outcome.numbers["archive"]
    prefix = f"s3://{s3.name}/requests/user-{portal.user.id}-export-"
    assert uri.startswith(prefix)
    stored = s3.client.get_object(Bucket=s3.name, Key=uri.removeprefix(f"s3://{s3.name}/"))
    assert stored["ServerSideEncryption"] == "AES256"
    assert stored["Body"].read() == in_folder.data
    assert outcome.remote_calls >= 3


def test_two_exports_to_s3_in_one_second_do_not_collide(world, runner, store, s3):
    user = world.firm().user()
    runner.now = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    for _ in range(2):
        runner(ExportUserData(store), user_id=user.id, output_dir=f"s3://{s3.name}")
    assert s3.client.list_objects_v2(Bucket=s3.name)["KeyCount"] == 2


def test_an_object_that_is_there_is_never_replaced(store, s3):
    s3.client.put_object(Bucket=s3.name, Key="taken.zip", Body=b"somebody else's")
    with pytest.raises(RemoteRefusedError, match="has an object of that name already"):
        store.put(s3.name, "taken.zip", io.BytesIO(b"mine"))
    assert s3.client.get_object(Bucket=s3.name, Key="taken.zip")["Body"].read() == b"somebody else's"


def test_a_bucket_that_is_not_there_fails_and_no_archive_is_said_to_be_anywhere(world, runner, store):
    user = world.firm().user()
    with pytest.raises(RemoteRefusedError, match="bucket no-such-bucket"):
        runner(ExportUserData(store), user_id=user.id, output_dir="s3://no-such-bucket/x")
    assert "archive" not in runner.last.numbers


def test_a_store_that_gives_back_other_bytes_is_not_believed(world, runner, store, s3, monkeypatch):
    user = world.firm().user()
    monkeypatch.setattr(store, "read", lambda bucket, key: iter([b"damaged"]))
    with pytest.raises(ArchiveVerificationError, match="gave back other bytes than it was sent"):
        runner(ExportUserData(store), user_id=user.id, output_dir=f"s3://{s3.name}")
    assert "archive" not in runner.last.numbers


def test_deleting_takes_every_version_and_delete_marker_of_a_key_and_no_other(store, s3):
    s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        s3.client.put_object(Bucket=s3.name, Key="a", Body=body)
    s3.client.put_object(Bucket=s3.name, Key="ab", Body=b"neighbour")
    s3.client.delete_object(Bucket=s3.name, Key="a")
    assert sum(store.delete_versions(s3.name, key) for key in ("a", "never-was")) == 3
    assert store.delete_versions(s3.name, "a") == 0
    left = s3.client.list_object_versions(Bucket=s3.name)
    assert [entry["Key"] for entry in left["Versions"]] == ["ab"]
    assert not left.get("DeleteMarkers")
