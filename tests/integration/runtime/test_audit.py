"""A run's audit events: one per firm in which something happened, and one a day as evidence that it ran."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cp_ops.runtime.audit import QUIET_HOURS, Category
from tests.integration.scripted_job import ScriptedJob

NOW = datetime(2026, 3, 10, 10, tzinfo=UTC)


@pytest.fixture
def ran(runner):
    """Run a job that did these counts per firm, so many hours after NOW."""

    def run_once(counts, *, hours=0, via=None, **options):
        def script(run):
            for firm, done in counts.items():
                for name, rows in done.items():
                    run.count(firm.id, name, rows)
            run.audit(Category.PURGE, [firm.id for firm in counts])

        chosen = via or runner
        chosen.now = NOW + timedelta(hours=hours)
        return chosen(ScriptedJob(script), **options)

    return run_once


@pytest.fixture
def events(runner):
    """(firm, metadata without the run's id) of every event."""

    def read():
        with runner.connect() as connection:
            rows = connection.execute(
                "SELECT firm_id, metadata FROM firm_audit_events ORDER BY id"
            ).fetchall()
        return [
            (firm_id, {name: value for name, value in data.items() if name != "run"})
            for firm_id, data in rows
        ]

    return read


def test_each_firm_gets_an_event_with_its_own_counts(ran, events, owner, world):
    one, other = world.firm(), world.firm()
    ran({one: {"deleted": 3, "kept": 0}, other: {"deleted": 5}})
    assert events() == [(one.id, {"deleted": 3}), (other.id, {"deleted": 5})]
    row = owner.execute(
        "SELECT category, action, severity, actor_id, actor_email, actor_role, target_model, target_id, timestamp,"
        " outcome, request_id, metadata ->> 'run' FROM firm_audit_events WHERE firm_id = %s",
        [one.id],
    ).fetchone()
    assert row == (
        *("PURGE", "scripted.run", "INFO", None, "", "cp_ops", "firm.Firm", str(one.id), NOW),
        *("success", "cp_ops-run-1", "1"),
    )


def test_every_eventful_run_leaves_an_event(ran, events, world):
    firm = world.firm()
    for hours in (0, 0.01, 1):
        ran({firm: {"deleted": 1}}, hours=hours)
    assert events() == [(firm.id, {"deleted": 1})] * 3


def test_an_uneventful_run_leaves_one_event_a_day(ran, events, world):
    firm = world.firm()
    for hours in (0, 1, QUIET_HOURS - 1):
        ran({firm: {}}, hours=hours)
    assert events() == [(firm.id, {})]
    ran({firm: {}}, hours=QUIET_HOURS)
    assert events() == [(firm.id, {})] * 2


def test_an_eventful_run_is_evidence_for_the_quiet_one_after_it(ran, events, world, written):
    firm = world.firm()
    ran({firm: {"deleted": 1}})
    before = written()
    ran({firm: {}}, hours=1)
    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}
    assert len(events()) == 1


def test_another_commands_event_is_no_evidence(ran, events, owner, world):
    firm = world.firm()
    ran({firm: {}})
    owner.execute("UPDATE firm_audit_events SET action = 'other.run'")
    ran({firm: {}}, hours=1)
    assert len(events()) == 2


def test_a_dry_run_leaves_none(ran, events, world):
    ran({world.firm(): {"deleted": 1}}, dry_run=True)
    assert events() == []


def test_the_same_under_row_level_security(ran, events, world, enable_row_level_security):
    one, other = world.firm(), world.firm()
    under_policy = enable_row_level_security()
    ran({one: {"deleted": 3}, other: {}}, via=under_policy)
    ran({one: {}, other: {}}, hours=1, via=under_policy)
    assert events() == [(one.id, {"deleted": 3}), (other.id, {})]
