"""refresh_materialized_views against a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import psycopg
import pytest

from cp_ops.finance.views.job import RefreshMaterializedViews
from cp_ops.finance.views.options import VIEWS
from cp_ops.runtime.errors import OptionsError, PreflightError, RowsFailedError, TransientRowsFailedError
from tests.integration.finance.views.view_world import CORRECTED, MONTHS, REVENUE, WEEKS, count, logs


def test_the_three_views_are_refreshed_and_logged_with_the_truth(refresh, owner, project):
    assert [count(owner, view) for view in VIEWS] == [0, 0, 0]
    before = datetime.now(UTC)
    outcome = refresh(RefreshMaterializedViews("scheduled"))

    assert (outcome.planned, outcome.done, outcome.failed) == (3, 3, 0)
    rows = logs(
        owner,
        *("view_name", "firm_id", "refresh_status", "rows_affected", "error_message", "triggered_by"),
        *("refresh_started_at", "refresh_completed_at"),
    )
    for view, row in zip(VIEWS, rows, strict=True):
        assert row[:6] == (view, None, "success", count(owner, view), "", "scheduled")
        assert before - timedelta(seconds=5) <= row[6] <= row[7] <= datetime.now(UTC) + timedelta(seconds=5)
        assert count(owner, view) > 0
        assert f"{count(owner, view)} rows in" in outcome.numbers[view]
        assert "plain: cannot be refreshed concurrently without a unique index" in outcome.numbers[view]


@pytest.mark.parametrize("who", ["manual", "scheduled", "event"])
def test_the_log_says_who_triggered_it(refresh, owner, who):
    refresh(RefreshMaterializedViews(who), view=WEEKS)
    assert logs(owner, "triggered_by") == [(who,)]


def test_one_view_can_be_refreshed_alone(refresh, owner, project):
    assert refresh(RefreshMaterializedViews(), view=WEEKS).done == 1
    assert [count(owner, view) > 0 for view in VIEWS] == [False, True, False]
    with pytest.raises(OptionsError, match=r"^view: "):
        refresh(RefreshMaterializedViews(), view="mv_everything")


def test_a_dry_run_plans_the_same_and_writes_only_its_outcome(refresh, project, written):
    before = written()
    preview = refresh(RefreshMaterializedViews(), dry_run=True)
    assert {table for table, rows in written().items() if rows != before.get(table, 0)} == {"cp_ops.job_run"}
    assert (preview.planned, preview.done) == (3, 0)
    assert preview.plan_sha256 == refresh(RefreshMaterializedViews()).plan_sha256


def test_a_second_run_writes_the_views_and_their_log_and_nothing_else(refresh, project, written):
    refresh(RefreshMaterializedViews())
    before = written()
    refresh(RefreshMaterializedViews())
    changed = {table for table, rows in written().items() if rows != before.get(table, 0)}
    assert changed <= {
        "cp_ops.job_run",
        "public.finance_mv_refresh_log",
        *(f"public.{view}" for view in VIEWS),
    }


def test_a_missing_view_is_an_error_and_stops_no_other(refresh, owner, project):
    owner.execute(f"ALTER MATERIALIZED VIEW {MONTHS} RENAME TO mv_old")
    with pytest.raises(
        RowsFailedError, match=f"1 rows failed, 2 done: {MONTHS}: this deployment has no such"
    ):
        refresh(RefreshMaterializedViews())
    assert [status for _, status, _ in logs(owner)] == ["failed", "success", "success"]
    assert "no such view" in logs(owner, "error_message")[0][0]


def test_a_missing_view_is_an_error_of_the_dry_run_too(refresh, owner, written):
    owner.execute(f"DROP MATERIALIZED VIEW {MONTHS}")
    with pytest.raises(RowsFailedError, match="no such view"):
        refresh(RefreshMaterializedViews(), dry_run=True)
    assert logs(owner) == []


def test_a_table_in_the_place_of_a_view_is_refused(refresh, owner):
    owner.execute(f"DROP MATERIALIZED VIEW {WEEKS}; CREATE VIEW {WEEKS} AS SELECT 1 AS one")
    with pytest.raises(RowsFailedError, match=f"{WEEKS}: is not a materialized view"):
        refresh(RefreshMaterializedViews())


def test_a_role_that_may_not_refresh_is_told_what_it_lacks(runner, owner, project, give_views_to):
    give_views_to("consultantpro")
    if owner.info.server_version >= 170000:
        owner.execute(f"REVOKE MAINTAIN ON {', '.join(VIEWS)} FROM cp_ops")
    with pytest.raises(
        RowsFailedError, match=r"3 rows failed.*role cp_ops may not refresh it, it belongs to"
    ):
        runner(RefreshMaterializedViews())
    assert count(owner, REVENUE) == 0


def test_row_level_security_that_would_empty_a_view_is_an_error_before_the_refresh(
    refresh, owner, project, enable_row_level_security, give_views_to
):
    """A refresh reads as the view's owner: by whomever it is asked for, it would silently empty the view."""
    if owner.info.server_version < 170000:
        pytest.skip("only its owner can refresh a view here, and cp_ops as owner bypasses row-level security")
    refresh(RefreshMaterializedViews())
    rows = {view: count(owner, view) for view in VIEWS}
    subject_to_it = enable_row_level_security()
    with pytest.raises(RowsFailedError, match="3 rows failed, 0 done") as failed:
        refresh(RefreshMaterializedViews())
    assert "owner consultantpro, from whom row-level security hides rows of" in str(failed.value)
    assert "projects_projects" in str(failed.value)
    assert {view: count(owner, view) for view in VIEWS} == rows

    give_views_to("cp_ops")
    for role in (refresh, subject_to_it):
        assert role(RefreshMaterializedViews()).done == 3
        assert {view: count(owner, view) for view in VIEWS} == rows


def test_row_level_security_under_an_ordinary_view_is_seen_too(refresh, owner, enable_row_level_security):
    owner.execute(
        f"""
        DROP MATERIALIZED VIEW {WEEKS};
        CREATE VIEW hours AS SELECT p.firm_id, te.user_id FROM projects_time_entries te
            JOIN projects_projects p ON p.id = te.project_id;
        CREATE VIEW more_hours AS SELECT * FROM hours;
        CREATE MATERIALIZED VIEW {WEEKS} AS SELECT * FROM more_hours;
        """
    )
    if owner.info.server_version >= 170000:
        owner.execute(f"GRANT MAINTAIN ON {WEEKS} TO cp_ops")
    else:
        pytest.skip("only its owner can refresh a view here")
    enable_row_level_security()
    with pytest.raises(RowsFailedError, match="hides rows of projects_projects"):
        refresh(RefreshMaterializedViews(), view=WEEKS)


def test_a_view_that_is_not_populated_is_filled_by_a_plain_refresh(refresh, owner, project):
    owner.execute(CORRECTED)
    refresh(RefreshMaterializedViews())
    owner.execute(f"REFRESH MATERIALIZED VIEW {WEEKS} WITH NO DATA")
    with pytest.raises(RowsFailedError, match="before a plain refresh has populated it"):
        refresh(RefreshMaterializedViews(), view=WEEKS, concurrently="always")
    outcome = refresh(RefreshMaterializedViews(), view=WEEKS)
    assert "plain: cannot be refreshed concurrently before" in outcome.numbers[WEEKS]
    assert count(owner, WEEKS) > 0


def test_with_unique_indexes_auto_refreshes_concurrently_where_it_pays(refresh, owner, project, world):
    owner.execute(CORRECTED)
    refresh(RefreshMaterializedViews(), concurrently="never")
    project.time_entry(world.user(), days_ago=1)
    outcome = refresh(RefreshMaterializedViews())
    for view in VIEWS:
        assert "concurrently: comparing" in outcome.numbers[view]
        assert logs(owner, "rows_affected")[-1][0] == count(owner, VIEWS[-1])
    big = refresh.with_settings(views_concurrently_max_rows=0)
    assert "plain: comparing" in big(RefreshMaterializedViews()).numbers[REVENUE]
    assert big(RefreshMaterializedViews(), concurrently="always").done == 3


@pytest.mark.parametrize(
    "index",
    [
        "UNIQUE INDEX ON {view} (project_id, month) WHERE month > '2000-01-01'",
        "UNIQUE INDEX ON {view} (project_id, (month + 1))",
        "INDEX ON {view} (project_id, month)",
    ],
)
def test_an_index_that_concurrently_cannot_use_does_not_count(refresh, owner, project, index):
    owner.execute(f"CREATE {index.format(view=MONTHS)}")
    outcome = refresh(RefreshMaterializedViews(), view=MONTHS)
    assert "plain: cannot be refreshed concurrently without a unique index" in outcome.numbers[MONTHS]
    with pytest.raises(RowsFailedError, match=r"corrected_views\.sql adds one"):
        refresh(RefreshMaterializedViews(), view=MONTHS, concurrently="always")


def test_a_view_that_is_being_read_for_long_stops_no_other(refresh, owner, app_db, project, monkeypatch):
    monkeypatch.setattr("cp_ops.finance.views.job.LOCK_SECONDS", 1)
    with psycopg.connect(app_db.owner_dsn) as reader:
        reader.execute(f"SELECT count(*) FROM {WEEKS}")
        with pytest.raises(TransientRowsFailedError, match=f"{WEEKS}: .*locked by another session"):
            refresh(RefreshMaterializedViews())
    assert [status for _, status, _ in logs(owner)] == ["success", "failed", "success"]
    assert "locked by another session" in logs(owner, "error_message")[1][0]
    assert refresh(RefreshMaterializedViews()).done == 3


def test_a_view_whose_query_fails_stops_no_other(refresh, owner, project):
    owner.execute(f"ALTER MATERIALIZED VIEW {MONTHS} RENAME TO mv_old")
    owner.execute(
        f"CREATE MATERIALIZED VIEW {MONTHS} AS SELECT 1 / (count(*) - 2) AS one FROM projects_time_entries WITH NO DATA"
    )
    if owner.info.server_version >= 170000:
        owner.execute(f"GRANT MAINTAIN ON {MONTHS} TO cp_ops")
    else:
        owner.execute(f"GRANT SELECT ON {MONTHS} TO cp_ops")
        pytest.skip("only its owner can refresh a view here")
    with pytest.raises(RowsFailedError, match=f"1 rows failed, 2 done: {MONTHS}: .*DivisionByZero"):
        refresh(RefreshMaterializedViews())
    assert [status for _, status, _ in logs(owner)] == ["success", "success", "failed"]


def start_log(owner, view, seconds_ago):
    owner.execute(
        "INSERT INTO finance_mv_refresh_log (view_name, refresh_started_at, refresh_status, error_message, triggered_by)"
        " VALUES (%s, now() - make_interval(secs => %s), 'running', '', 'scheduled')",
        [view, seconds_ago],
    )


def test_log_rows_of_dead_runs_are_closed(refresh, owner):
    start_log(owner, REVENUE, 3600)
    start_log(owner, REVENUE, 10)
    start_log(owner, "somebody_elses_view", 3600)
    outcome = refresh(RefreshMaterializedViews())
    assert outcome.done_kinds == {"refreshed": 3, "logs_closed": 1}
    closed, young, other, *_ = logs(
        owner, "view_name", "refresh_status", "refresh_completed_at IS NOT NULL", "error_message"
    )
    assert closed[:3] == (REVENUE, "failed", True)
    assert "its run ended without a result" in closed[3]
    assert young[1] == "running"
    assert other[1] == "running"


def test_the_log_row_of_a_refresh_under_way_stays_open(refresh, owner, app_db, postgres, monkeypatch):
    monkeypatch.setattr("cp_ops.finance.views.job.LOCK_SECONDS", 1)
    start_log(owner, REVENUE, 3600)
    with psycopg.connect(postgres.dsn(app_db.name)) as somebody:
        somebody.execute(f"REFRESH MATERIALIZED VIEW {REVENUE}")
        with pytest.raises(TransientRowsFailedError):
            refresh(RefreshMaterializedViews(), view=REVENUE)
        assert logs(owner, "refresh_status")[0] == ("running",)
        somebody.rollback()
    refresh(RefreshMaterializedViews(), view=REVENUE)
    assert logs(owner, "refresh_status")[0] == ("failed",)


@pytest.fixture
def other_deployment(owner):
    """The refresh log as other deployments have it: no time zone, serial key, bigint firm, defaults, null errors."""
    owner.execute(
        """
        SET timezone = 'UTC';
        ALTER TABLE finance_mv_refresh_log
            ALTER refresh_started_at TYPE timestamp, ALTER refresh_completed_at TYPE timestamp,
            ALTER firm_id TYPE bigint, ALTER error_message DROP NOT NULL,
            ALTER refresh_status SET DEFAULT 'running', ALTER id DROP IDENTITY;
        CREATE SEQUENCE finance_mv_refresh_log_serial OWNED BY finance_mv_refresh_log.id;
        ALTER TABLE finance_mv_refresh_log
            ALTER id TYPE integer, ALTER id SET DEFAULT nextval('finance_mv_refresh_log_serial');
        """
    )


def test_the_log_may_look_different(refresh, owner, other_deployment):
    """Times are UTC whatever the session's time zone; a dead run is recognised by the same clock."""
    start_log(owner, REVENUE, 90)
    start_log(owner, WEEKS, 5)
    refresh.dsn += f"?options={quote('-c TimeZone=Asia/Tokyo')}"
    refresh(RefreshMaterializedViews())
    rows = logs(owner, "refresh_status", "refresh_completed_at")
    assert [status for status, _ in rows] == ["failed", "running", "success", "success", "success"]
    for status, completed in rows:
        if status != "running":
            assert abs(completed - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=1)


def test_a_missing_log_stops_the_run_before_any_refresh(refresh, owner, project):
    owner.execute("ALTER TABLE finance_mv_refresh_log RENAME TO elsewhere")
    with pytest.raises(PreflightError, match="table finance_mv_refresh_log is missing"):
        refresh(RefreshMaterializedViews())
    assert count(owner, REVENUE) == 0
