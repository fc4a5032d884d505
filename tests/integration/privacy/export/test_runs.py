"""How an export comes about: one moment, one archive, one record."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cp_ops.privacy.export.destination import DestinationError
from cp_ops.privacy.export.job import ExportUserData
from cp_ops.runtime.errors import AlreadyRunningError, OptionsError
from tests.integration.killed import let_leases_expire, run_killed_at
from tests.integration.privacy.dumps import dump
from tests.integration.privacy.export.export_world import Archive, NoStore

STEPS = {
    "contents written": "cp_ops.privacy.export.archive:ArchiveWriter.finish",
    "access recorded": "cp_ops.privacy.export.job:ExportUserData._record",
    "archive named": "cp_ops.privacy.export.destination:Folder.publish",
}


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
