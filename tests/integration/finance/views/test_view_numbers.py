"""What the views add up to: the application's definitions, and the corrected one that it may take over."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from cp_ops.finance.views.job import RefreshMaterializedViews
from tests.integration.finance.views.view_world import CORRECTED, MONTHS, REVENUE, WEEKS

MEASURES = (
    *("total_revenue", "labor_cost", "expense_cost", "overhead_cost", "team_members", "total_hours"),
    *("billable_hours", "invoice_count", "paid_invoice_count"),
)
YEAR = datetime.now(UTC).year


def day(month_and_day):
    """A day of this year: within the span of every view, whenever the tests run."""
    return date.fromisoformat(f"{YEAR}-{month_and_day}")


def revenue(owner):
    """Measures per (project, month)."""
    rows = owner.execute(f"SELECT project_id, month, {', '.join(MEASURES)} FROM {REVENUE}").fetchall()
    return {row[:2]: dict(zip(MEASURES, row[2:], strict=True)) for row in rows}


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
