"""Findings: opened once, seen again, resolved when gone, opened anew when they come back."""

from __future__ import annotations

import psycopg
import pytest

from cp_ops.runtime.audit import Category
from cp_ops.runtime.findings import SEEN_AGAIN_HOURS, Finding, Severity
from tests.integration.scripted_job import ScriptedJob


def finding(subject="documents_versions:1", firm=None, **columns):
    defaults = {
        "kind": "missing_object",
        "severity": Severity.WARNING,
        "proposed_action": "Upload it again",
        "details": {"bytes": 10},
    }
    return Finding(subject=subject, firm_id=firm.id if firm else None, **defaults | columns)


@pytest.fixture
def examine(runner):
    """Run a job that examines firms and sees these findings; gives its outcome."""

    def run_once(*seen, firms, kinds=("missing_object",), via=None, **scope):
        def script(run):
            firm_ids = [firm.id for firm in firms]
            for tenant in run.tenants(firm_ids):
                own = [one for one in seen if one.firm_id is None or one.firm_id in tenant.firm_ids]
                with run.write(tenant) as tx, run.findings(tx) as ledger:
                    assert ledger.saw(own) == len(own)
                    settled = ledger.settle(
                        kinds=kinds, firm_ids=tenant.firm_ids, category=Category.DATA_ACCESS, **scope
                    )
                run.count_findings(settled)

        return (via or runner)(ScriptedJob(script))

    return run_once


@pytest.fixture
def kept(runner):
    """The findings' rows, oldest first."""

    def read():
        with runner.connect() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            return cursor.execute("SELECT * FROM cp_ops.finding ORDER BY id").fetchall()

    return read


def counts(outcome):
    return (outcome.findings.opened, outcome.findings.seen_again, outcome.findings.resolved)


@pytest.fixture
def firm(world):
    return world.firm()


def test_a_new_finding_is_opened_with_one_audit_event(examine, kept, owner, firm):
    outcome = examine(finding("documents_versions:7", firm), firms=[firm])
    assert counts(outcome) == (1, 0, 0)
    [row] = kept()
    assert (row["command"], row["kind"], row["subject"], row["firm_id"]) == (
        "scripted",
        "missing_object",
        "documents_versions:7",
        firm.id,
    )
    assert (row["severity"], row["details"], row["times_seen"], row["resolved_at"]) == (
        "WARNING",
        {"bytes": 10},
        1,
        None,
    )
    events = owner.execute(
        "SELECT firm_id, category, action, severity, target_model, target_id, metadata FROM firm_audit_events"
    ).fetchall()
    assert events == [
        (
            firm.id,
            "DATA_ACCESS",
            "scripted.finding",
            "WARNING",
            "documents_versions",
            "7",
            {"finding": row["id"], "kind": "missing_object"},
        )
    ]


def test_seen_again_writes_nothing_but_the_runs_record(examine, firm, written):
    examine(finding(firm=firm), firms=[firm])
    before = written()
    assert counts(examine(finding(firm=firm), firms=[firm])) == (0, 1, 0)
    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}


def test_when_it_was_last_seen_moves_once_in_a_while(examine, kept, runner, firm):
    examine(finding(firm=firm), firms=[firm])
    with runner.connect() as connection:
        connection.execute(
            "UPDATE cp_ops.finding SET last_seen_at = last_seen_at - make_interval(hours => %s)",
            [SEEN_AGAIN_HOURS + 1],
        )
    before = kept()[0]["last_seen_at"]
    examine(finding(firm=firm), firms=[firm])
    [row] = kept()
    assert row["last_seen_at"] > before
    assert row["times_seen"] == 2


@pytest.mark.parametrize("changed", [{"details": {"bytes": 11}}, {"severity": Severity.CRITICAL}])
def test_changed_details_are_kept_at_once_and_without_a_second_event(examine, kept, owner, firm, changed):
    examine(finding(firm=firm), firms=[firm])
    assert counts(examine(finding(firm=firm, **changed), firms=[firm])) == (0, 1, 0)
    [row] = kept()
    [(name, value)] = changed.items()
    assert row[name] == value
    assert row["times_seen"] == 2
    assert owner.execute("SELECT count(*) FROM firm_audit_events").fetchone() == (1,)


def test_gone_is_resolved_and_back_again_is_a_new_one(examine, kept, owner, firm):
    examine(finding(firm=firm), firms=[firm])
    assert counts(examine(firms=[firm])) == (0, 0, 1)
    assert counts(examine(firms=[firm])) == (0, 0, 0)
    assert counts(examine(finding(firm=firm), firms=[firm])) == (1, 0, 0)
    first, second = kept()
    assert first["resolved_at"] is not None
    assert first["resolved_by_run"] > first["opened_by_run"]
    assert second["resolved_at"] is None
    assert owner.execute("SELECT count(*) FROM firm_audit_events").fetchone() == (2,)


def test_only_what_was_examined_is_resolved(examine, kept, world, firm):
    other = world.firm()
    everything = [
        finding("a:1", firm),
        finding("a:2", firm),
        finding("a:1", firm, kind="size_mismatch"),
        finding("a:1", other),
    ]
    examine(*everything, firms=[firm, other], kinds=["missing_object", "size_mismatch"])

    assert counts(examine(firms=[firm], subjects=["a:2"])) == (0, 0, 1)
    assert counts(examine(firms=[firm])) == (0, 0, 1)
    still_open = [(row["firm_id"], row["kind"]) for row in kept() if row["resolved_at"] is None]
    assert sorted(still_open) == [(firm.id, "size_mismatch"), (other.id, "missing_object")]


def test_two_firms_may_have_the_same_subject_and_are_counted_apart(examine, world, firm, runner):
    other = world.firm()
    told = []

    def script(run):
        with run.write() as tx, run.findings(tx) as ledger:
            ledger.saw([finding("a:1", firm), finding("a:2", firm), finding("a:1", other)])
            told.append(
                ledger.settle(
                    kinds=["missing_object"], firm_ids=[firm.id, other.id], category=Category.SYSTEM
                ).by_firm
            )

    runner(ScriptedJob(script))
    assert told == [{firm.id: {"findings_opened": 2}, other.id: {"findings_opened": 1}}]


def test_a_finding_of_no_firm_has_no_audit_event(examine, kept, owner, firm):
    assert counts(examine(finding("bucket:1"), firms=[firm])) == (1, 0, 0)
    assert counts(examine(finding("bucket:1"), firms=[firm])) == (0, 1, 0)
    assert kept()[0]["firm_id"] is None
    assert owner.execute("SELECT count(*) FROM firm_audit_events").fetchone() == (0,)


def test_the_same_thing_seen_twice_in_a_run_is_one_finding(examine, kept, firm):
    assert counts(examine(finding(firm=firm), finding(firm=firm), firms=[firm])) == (1, 0, 0)
    assert counts(examine(finding(firm=firm), finding(firm=firm), firms=[firm])) == (0, 1, 0)
    assert len(kept()) == 1


def test_commands_do_not_share_findings(examine, runner, kept, firm):
    class Other(ScriptedJob):
        command = "other"

    examine(finding(firm=firm), firms=[firm])

    def script(run):
        with run.write() as tx, run.findings(tx) as ledger:
            ledger.settle(kinds=["missing_object"], firm_ids=[firm.id], category=Category.SYSTEM)

    runner(Other(script))
    assert kept()[0]["resolved_at"] is None


def test_ten_thousand_take_a_handful_of_statements(examine, firm):
    few = examine(finding("a:0", firm), firms=[firm])
    many = examine(*(finding(f"a:{n}", firm) for n in range(10_000)), firms=[firm])
    assert counts(many) == (9_999, 1, 0)
    assert many.statements == few.statements
    assert counts(examine(firms=[firm])) == (0, 0, 10_000)


def test_a_settlement_that_is_rolled_back_leaves_nothing(runner, kept, owner, firm):
    def script(run):
        with run.write() as tx:
            with run.findings(tx) as ledger:
                ledger.saw([finding(firm=firm)])
                ledger.settle(kinds=["missing_object"], firm_ids=[firm.id], category=Category.SYSTEM)
            raise ArithmeticError

    with pytest.raises(Exception, match="ArithmeticError"):
        runner(ScriptedJob(script))
    assert kept() == []
    assert owner.execute("SELECT count(*) FROM firm_audit_events").fetchone() == (0,)


def test_the_same_under_row_level_security(examine, kept, world, firm, enable_row_level_security, runner):
    other = world.firm()
    under_policy = enable_row_level_security()
    seen = [finding("a:1", firm), finding("a:1", other)]
    assert counts(examine(*seen, firms=[firm, other], via=under_policy)) == (2, 0, 0)
    assert counts(examine(*seen[:1], firms=[firm, other], via=under_policy)) == (0, 1, 1)
    with runner.connect() as connection:
        events = connection.execute("SELECT firm_id FROM firm_audit_events ORDER BY firm_id").fetchall()
    assert events == [(firm.id,), (other.id,)]
