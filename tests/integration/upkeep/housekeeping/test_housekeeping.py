"""cp_ops_housekeeping against a real database."""

from __future__ import annotations

import pytest

from cp_ops.upkeep.housekeeping.job import Housekeeping

RUN = (
    "INSERT INTO cp_ops.job_run (command, scope, dry_run, state, holder, attempt, requested_by, options, started_at,"
    " expires_at, finished_at) SELECT 'old', '', true, %(state)s, 'test', 1, '', '{}', at, at,"
    " CASE WHEN %(state)s = 'running' THEN NULL ELSE at END"
    " FROM (SELECT now() - make_interval(days => %(days)s) AS at) AS moment"
)
FINDING = (
    "INSERT INTO cp_ops.finding (command, kind, subject, severity, proposed_action, details, opened_by_run, opened_at,"
    " resolved_at) VALUES ('old', 'kind', %(subject)s, 'INFO', '', '{}', 1, now() - interval '900 days',"
    " now() - make_interval(days => %(days)s))"
)


@pytest.fixture
def jobs(runner):
    with runner.connect() as connection:
        yield connection


def left(jobs, table):
    return jobs.execute(f"SELECT count(*) FROM cp_ops.{table} WHERE command = 'old'").fetchone()[0]


def test_old_runs_and_resolved_findings_go_and_the_rest_stays(runner, jobs, monkeypatch):
    monkeypatch.setattr("cp_ops.upkeep.housekeeping.job.BATCH", 2)
    for days in (402, 403, 404, 405, 399):
        jobs.execute(RUN, {"state": "success", "days": days})
    jobs.execute(RUN, {"state": "running", "days": 900})
    for number, days in enumerate((500, 10, None)):
        jobs.execute(FINDING, {"subject": f"table:{number}", "days": days})

    preview = runner(Housekeeping(), dry_run=True)
    outcome = runner(Housekeeping())

    assert (preview.planned, preview.done, outcome.done) == (5, 0, 5)
    assert preview.plan_sha256 == outcome.plan_sha256
    assert left(jobs, "job_run") == 2
    assert left(jobs, "finding") == 2
    assert runner(Housekeeping()).planned == 0


def test_the_retention_is_a_setting(runner, jobs):
    jobs.execute(RUN, {"state": "failed", "days": 40})
    assert runner(Housekeeping()).done == 0
    assert runner.with_settings(run_retention_days=30)(Housekeeping()).done == 1
