"""refresh_materialized_views against a real database."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from urllib.parse import quote

import psycopg
import pytest

from cp_ops.finance.views.job import RefreshMaterializedViews
from cp_ops.finance.views.options import VIEWS
from cp_ops.runtime.errors import OptionsError, PreflightError, RowsFailedError, TransientRowsFailedError
from cp_ops.runtime.statements import INCLUDE

REVENUE, WEEKS, MONTHS = VIEWS
CORRECTED = (INCLUDE / "sql" / "optional" / "corrected_views.sql").read_text(encoding="utf-8")
MEASURES = (
    *("total_revenue", "labor_cost", "expense_cost", "overhead_cost", "team_members", "total_hours"),
    *("billable_hours", "invoice_count", "paid_invoice_count"),
)


YEAR = datetime.now(UTC).year


def day(month_and_day):
    """A day of this year: within the span of every view, whenever the tests run."""
    return date.fromisoformat(f"{YEAR}-{month_and_day}")


def logs(owner, *columns):
    names = ", ".join(columns or ("view_name", "refresh_status", "rows_affected"))
    return owner.execute(f"SELECT {names} FROM finance_mv_refresh_log ORDER BY id").fetchall()


def count(owner, view):
    return owner.execute(f"SELECT count(*) FROM {view}").fetchone()[0]


def revenue(owner):
    """Measures per (project, month)."""
    rows = owner.execute(f"SELECT project_id, month, {', '.join(MEASURES)} FROM {REVENUE}").fetchall()
    return {row[:2]: dict(zip(MEASURES, row[2:], strict=True)) for row in rows}


@pytest.fixture
def refresh(runner):
    """Run jobs as role cp_ops, which may refresh: by MAINTAIN, or before PostgreSQL 17 as the views' owner."""
    return runner


@pytest.fixture
def give_views_to(app_db, postgres):
    """Make a role the owner of the views, as a superuser can."""

    def give(role):
        with postgres.connect(app_db.name) as superuser:
            superuser.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
            for view in VIEWS:
                superuser.execute(f"ALTER MATERIALIZED VIEW {view} OWNER TO {role}")
                superuser.execute(f"GRANT SELECT ON {view} TO consultantpro, cp_ops")

    return give


@pytest.fixture
def project(world):
    """A project with hours of two weeks, so that every view has a row."""
    firm = world.firm()
    project = firm.client().project()
    user = firm.user()
    project.time_entry(user, days_ago=3)
    project.time_entry(user, days_ago=20)
    return project


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


# -- the numbers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def known_month(world):
    """A month whose numbers can be added up by hand: two invoices, three time entries, three expenses."""
    firm = world.firm()
    client, (ann, bob) = firm.client(), (firm.user(), firm.user())
    project = client.project()
    client.invoice("100.00", paid="100.00", project_id=project.id).update(issue_date=day("02-10"))
    client.invoice("100.00", paid="40.00", project_id=project.id).update(issue_date=day("02-28"))
    project.time_entry(ann, hours="2.00", rate="100.00", date=day("02-02"))
    project.time_entry(ann, hours="3.00", rate="100.00", date=day("02-03"), is_billable=False)
    project.time_entry(bob, hours="1.00", rate="50.00", date=day("02-28"))
    project.expense(ann, amount="80.00", date=day("02-05"))
    project.expense(ann, amount="20.00", date=day("02-06"))
    project.expense(bob, amount="999.00", status="submitted", date=day("02-07"))
    return project


def test_the_applications_view_multiplies_its_sums(refresh, owner, known_month):
    """Why the corrected definition exists: 2 invoices x 3 time entries x 3 expenses are 18 joined rows."""
    refresh(RefreshMaterializedViews())
    found = revenue(owner)[known_month.id, day("02-01")]
    assert found["total_revenue"] == Decimal("140.00") * 9
    assert found["labor_cost"] == Decimal("550.00") * 6
    assert found["expense_cost"] == Decimal("100.00") * 6
    assert found["total_hours"] == Decimal("6.00") * 6


def test_the_corrected_view_adds_up(refresh, owner, known_month):
    owner.execute(CORRECTED)
    refresh(RefreshMaterializedViews())
    assert revenue(owner) == {
        (known_month.id, day("02-01")): {
            "total_revenue": Decimal("140.00"),
            "labor_cost": Decimal("550.00"),
            "expense_cost": Decimal("100.00"),
            "overhead_cost": Decimal("110.00"),
            "team_members": 2,
            "total_hours": Decimal("6.00"),
            "billable_hours": Decimal("3.00"),
            "invoice_count": 2,
            "paid_invoice_count": 1,
        }
    }


def test_the_corrected_view_files_everything_under_its_own_month(refresh, owner, known_month, world):
    """The application files hours and expenses under the month of an invoice."""
    known_month.time_entry(world.user(), hours="4.00", rate="10.00", date=day("01-31"))
    owner.execute(CORRECTED)
    refresh(RefreshMaterializedViews())
    found = revenue(owner)
    assert found[known_month.id, day("01-01")]["labor_cost"] == Decimal("40.00")
    assert found[known_month.id, day("01-01")]["total_revenue"] == 0
    assert found[known_month.id, day("02-01")]["labor_cost"] == Decimal("550.00")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_corrected_view_agrees_with_the_same_sums_in_python(refresh, owner, world, seed):
    chance = random.Random(seed)
    firm = world.firm()
    client, users = firm.client(), [firm.user() for _ in range(3)]
    projects = [client.project() for _ in range(3)]
    expected = defaultdict(lambda: dict.fromkeys(MEASURES, Decimal(0)))
    members = defaultdict(set)
    for _ in range(60):
        project, user = chance.choice(projects), chance.choice(users)
        when = day("01-01") + timedelta(days=chance.randrange(120))
        amount = Decimal(chance.randrange(1, 10**6)) / 100
        key = project.id, when.replace(day=1)
        sums = expected[key]
        match chance.choice(["invoice", "hours", "expense"]):
            case "invoice":
                status = chance.choice(["paid", "partial", "sent", "draft", "refunded"])
                client.invoice(str(amount), paid=str(amount), status=status, project_id=project.id).update(
                    issue_date=when
                )
                sums["invoice_count"] += 1
                sums["paid_invoice_count"] += status == "paid"
                sums["total_revenue"] += amount if status in ("paid", "partial") else 0
            case "hours":
                billable = chance.random() < 0.5
                project.time_entry(user, hours="1.75", rate="80.00", date=when, is_billable=billable)
                sums["labor_cost"] += Decimal("140.00")
                sums["overhead_cost"] += Decimal("28.00")
                sums["total_hours"] += Decimal("1.75")
                sums["billable_hours"] += Decimal("1.75") if billable else 0
                members[key].add(user.id)
            case "expense":
                status = chance.choice(["approved", "draft", "rejected", "invoiced"])
                project.expense(user, amount=str(amount), status=status, date=when)
                sums["expense_cost"] += amount if status == "approved" else 0
    for key, ids in members.items():
        expected[key]["team_members"] = Decimal(len(ids))
    owner.execute(CORRECTED)
    refresh(RefreshMaterializedViews())
    assert revenue(owner) == expected


def test_the_corrected_view_begins_with_a_whole_month_five_years_back(refresh, owner, world):
    firm = world.firm()
    project, user = firm.client().project(), firm.user()
    first = owner.execute("SELECT date_trunc('month', current_date - INTERVAL '5 years')::date").fetchone()[0]
    project.time_entry(user, date=first)
    project.time_entry(user, date=first - timedelta(days=1))
    owner.execute(CORRECTED)
    refresh(RefreshMaterializedViews())
    assert list(revenue(owner)) == [(project.id, first)]


def test_the_corrected_view_has_the_applications_columns_indexes_and_privileges(owner):
    def shape():
        columns = owner.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
            [REVENUE],
        ).fetchall()
        indexes = owner.execute(
            "SELECT array_agg(regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '') ORDER BY 1) FROM pg_index"
            " WHERE indrelid = %s::regclass AND NOT indisunique",
            [REVENUE],
        ).fetchone()
        grants = owner.execute(
            "SELECT array_agg(grant_.grantee::regrole || grant_.privilege_type ORDER BY 1) FROM pg_class,"
            " aclexplode(relacl) AS grant_ WHERE oid = %s::regclass",
            [REVENUE],
        ).fetchone()
        return columns, indexes, grants

    before = shape()
    owner.execute(CORRECTED)
    assert shape() == before
    owner.execute(CORRECTED)
    assert shape() == before


def test_the_utilization_views_are_right_as_they_are(refresh, owner, known_month):
    owner.execute(CORRECTED)
    refresh(RefreshMaterializedViews())
    assert owner.execute(
        f"SELECT month, total_hours, billable_hours, non_billable_hours, team_members, days_worked, total_cost,"
        f" billable_cost FROM {MONTHS}"
    ).fetchall() == [(day("02-01"), Decimal(6), Decimal(3), Decimal(3), 2, 3, Decimal(550), Decimal(250))]
    weeks = defaultdict(Decimal)
    for when, cost in (("02-02", 200), ("02-03", 300), ("02-28", 50)):
        weeks[day(when) - timedelta(days=day(when).weekday())] += cost
    found = owner.execute(f"SELECT week_start, sum(total_cost) FROM {WEEKS} GROUP BY 1").fetchall()
    assert dict(found) == weeks
