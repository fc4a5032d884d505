"""generate_package_invoices against a real database."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import psycopg
import pytest

from cp_ops.finance.packages.job import GeneratePackageInvoices
from cp_ops.finance.packages.options import GeneratePackageInvoicesOptions
from cp_ops.runtime.errors import (
    AlreadyRunningError,
    CapExceededError,
    OptionsError,
    PreflightError,
    RowsFailedError,
    SettingError,
)
from cp_ops.runtime.settings import Settings


def invoices(owner, *columns, where="true"):
    names = ", ".join(columns or ("engagement_id", "period_start", "total_amount"))
    return owner.execute(
        f"SELECT {names} FROM finance_invoices WHERE is_auto_generated AND {where} ORDER BY engagement_id, period_start"
    ).fetchall()


def count(owner):
    return owner.execute("SELECT count(*) FROM finance_invoices").fetchone()[0]


@pytest.fixture
def firm(world):
    return world.firm(timezone="Europe/Paris", currency="EUR")


@pytest.fixture
def engagement(firm):
    return firm.client().engagement(fee="1250.50")


def test_an_invoice_is_written_as_the_application_writes_one(runner, owner, world, firm, engagement):
    outcome = runner(GeneratePackageInvoices())

    assert (outcome.planned, outcome.done, outcome.failed) == (1, 1, 0)
    [(number,)] = invoices(owner, "invoice_number")
    today, first = firm.day(), firm.day().replace(day=1)
    assert number == f"PKG-{engagement.id}-{first}"
    with owner.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        generated = cursor.execute(
            "SELECT * FROM finance_invoices WHERE invoice_number = %s", [number]
        ).fetchone()
        client_id = engagement.row()["client_id"]
        manual = cursor.execute(
            "SELECT * FROM finance_invoices WHERE id = %s",
            [
                world.insert(
                    "finance_invoices",
                    firm_id=firm.id,
                    client_id=client_id,
                    invoice_number="by hand",
                    subtotal="1250.50",
                    total_amount="1250.50",
                    issue_date=today,
                    due_date=today + timedelta(days=30),
                )
            ],
        ).fetchone()
    differs = {name for name in manual if manual[name] != generated[name]}
    assert differs == {
        *("id", "invoice_number", "engagement_id", "status", "currency", "period_start", "period_end"),
        *("is_auto_generated", "line_items", "autopay_next_charge_at", "created_at", "updated_at"),
    }
    assert (generated["status"], generated["currency"]) == ("sent", "EUR")
    assert generated["line_items"] == [
        {
            "description": f"Advisory retainer, {first} to {generated['period_end']}",
            "quantity": 1,
            "rate": "1250.50",
            "amount": "1250.50",
        }
    ]


def test_collection_happens_on_the_due_date(runner, owner, firm):
    """A trap: a null next charge means at once."""
    firm.client(autopay=True).engagement()
    firm.client(autopay=False).engagement()
    runner(GeneratePackageInvoices())
    rows = invoices(
        owner,
        "autopay_opt_in",
        "autopay_payment_method_id",
        "autopay_next_charge_at",
        "issue_date",
        "due_date",
    )
    assert sorted(row[0] for row in rows) == [False, True]
    for opted_in, method, charge_at, issued, due in rows:
        assert bool(method) is opted_in
        assert due - issued == timedelta(days=30)
        assert charge_at.astimezone(ZoneInfo("Europe/Paris")).replace(tzinfo=None) == datetime.combine(
            due, datetime.min.time()
        )


def test_a_dry_run_plans_the_same_and_writes_only_its_outcome(runner, engagement, written):
    before = written()
    preview = runner(GeneratePackageInvoices(), dry_run=True)
    assert {table for table, rows in written().items() if rows != before.get(table, 0)} == {"cp_ops.job_run"}
    assert preview.done == 0
    assert preview.planned == 1
    assert preview.plan_sha256 == runner(GeneratePackageInvoices()).plan_sha256


def test_the_second_run_writes_only_its_outcome(runner, engagement, written):
    runner(GeneratePackageInvoices(), backfill=True)
    before = written()
    outcome = runner(GeneratePackageInvoices(), backfill=True)
    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}
    assert (outcome.planned, set(outcome.skip_reasons)) == (0, {"already invoiced"})


def test_reasons_for_what_is_not_invoiced_are_in_the_outcome(runner, owner, firm):
    """Traps: unknown schedules were billed monthly, future engagements with an end before the start."""
    client = firm.client()
    client.engagement(schedule="fortnightly")
    client.engagement(starts_in_days=1)
    client.engagement(ends_in_days=-1)
    client.engagement(fee=None)
    billed = client.engagement()
    client.invoice(engagement_id=billed.id, period_start=firm.day().replace(day=1))
    client.engagement(status="completed")
    client.engagement(status="renewed")
    client.engagement(pricing_mode="hourly")
    outcome = runner(GeneratePackageInvoices())

    assert invoices(owner) == []
    assert outcome.skip_reasons == {
        "unknown schedule": 1,
        "not started yet": 1,
        "ended": 1,
        "no package fee": 1,
        "a manual invoice has the same period start": 1,
    }


def test_mixed_pricing_is_invoiced_too(runner, owner, firm):
    firm.client().engagement(pricing_mode="mixed")
    assert runner(GeneratePackageInvoices()).done == 1


def test_backfill_issues_the_missed_periods(runner, owner, firm):
    engagement = firm.client().engagement(starts_in_days=-100, ends_in_days=300)
    months = {(firm.day(-days).year, firm.day(-days).month) for days in range(101)}
    outcome = runner(GeneratePackageInvoices(), backfill=True)
    rows = invoices(owner, "period_start", "period_end", "due_date")
    assert outcome.done == len(rows) == len(months)
    assert rows[0][0] == engagement.row()["start_date"]
    for (_, end, _), (start, _, _) in pairwise(rows):
        assert start == end + timedelta(days=1)
    assert {due for *_, due in rows} == {firm.day(30)}


def test_a_reference_date_decides_the_period(runner, owner, firm):
    engagement = firm.client().engagement(starts_in_days=-400, ends_in_days=400)
    past = firm.day(-200)
    runner(GeneratePackageInvoices(), reference_date=past.isoformat())
    assert invoices(owner, "engagement_id", "period_start", "issue_date") == [
        (engagement.id, past.replace(day=1), firm.day())
    ]


@pytest.mark.parametrize(
    "given", ["2025-02-30", "yesterday", "2025-2-1", "20250201", "2025-02-01T00:00", 5, ""]
)
def test_a_reference_date_that_is_no_day_is_refused(given):
    with pytest.raises(OptionsError, match=r"^reference_date: must be a day as YYYY-MM-DD"):
        GeneratePackageInvoicesOptions.parse({"reference_date": given})


def test_a_reference_date_far_ahead_or_long_ago_is_refused(runner, firm, engagement, owner):
    with pytest.raises(OptionsError, match=r"reference_date: .* is more than 31 days ahead"):
        runner(GeneratePackageInvoices(), reference_date=firm.day(32).isoformat())
    with pytest.raises(OptionsError, match=r"^reference_date: input should be greater than or equal to"):
        runner(GeneratePackageInvoices(), reference_date="1925-01-01")
    assert invoices(owner) == []
    assert runner(GeneratePackageInvoices(), reference_date=firm.day(31).isoformat()).done == 1


def test_the_firms_day_decides(app_db, runner, world, owner):
    """At 23:30 UTC on the last of a month it is the next month already in Tokyo, and not yet in New York."""
    runner.now = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)
    for timezone in ("Asia/Tokyo", "America/New_York"):
        firm = world.firm(timezone=timezone)
        firm.client().engagement(start_date="2025-01-01", end_date="2027-12-31")
    runner(GeneratePackageInvoices())
    assert [str(row[0]) for row in invoices(owner, "period_start")] == ["2026-04-01", "2026-03-01"]


def test_an_engagement_without_firm_is_its_clients(runner, owner, firm):
    firm.client().engagement(firm_id=None)
    assert runner(GeneratePackageInvoices(), firm_id=firm.id).done == 1
    assert invoices(owner, "firm_id") == [(firm.id,)]


def test_an_engagement_of_another_firm_fails_and_stops_no_other(runner, owner, world, firm, engagement):
    other = world.firm()
    mixed_up = firm.client().engagement(firm_id=other.id)
    with pytest.raises(
        RowsFailedError, match=f"clients_engagement:{mixed_up.id}: belongs to firm {other.id}"
    ):
        runner(GeneratePackageInvoices())
    assert [row[0] for row in invoices(owner)] == [engagement.id]


def test_an_amount_that_does_not_fit_its_currency_fails_and_stops_no_other(runner, owner, world):
    """A trap: currencies without decimals."""
    client = world.firm(currency="JPY").client()
    client.engagement(fee="1000.50")
    good = client.engagement(fee="98000.00")
    with pytest.raises(RowsFailedError, match=r"1000\.50 JPY is finer than the currency's 0 decimals"):
        runner(GeneratePackageInvoices())
    assert invoices(owner) == [(good.id, client.day().replace(day=1), Decimal("98000.00"))]


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [("currency", "XXX", "not a current ISO 4217"), ("timezone", "Mars/Olympus", "is not known")],
)
def test_a_firm_that_cannot_be_billed_stops_no_other(
    runner, owner, world, engagement, column, value, problem
):
    bad = world.firm(**{column: "USD" if column == "currency" else "UTC"})
    bad.client().engagement()
    bad.update(**{column: value})
    with pytest.raises(RowsFailedError, match=f"firm_firm:{bad.id}: .*{problem}"):
        runner(GeneratePackageInvoices())
    assert [row[0] for row in invoices(owner)] == [engagement.id]


def test_a_run_for_one_firm_leaves_the_others_alone(runner, owner, world, engagement):
    other = world.firm()
    other.client().engagement()
    assert runner(GeneratePackageInvoices(), firm_id=other.id).done == 1
    assert invoices(owner, "firm_id") == [(other.id,)]


@pytest.mark.parametrize("status", ["suspended", "canceled"])
def test_firms_that_are_not_served_are_not_billed(runner, owner, world, status):
    gone = world.firm(status=status)
    gone.client().engagement()
    runner(GeneratePackageInvoices())
    assert invoices(owner) == []
    with pytest.raises(OptionsError, match=f"firm_id: firm {gone.id} is {status}"):
        runner(GeneratePackageInvoices(), firm_id=gone.id)


def test_prorate_is_off_by_default_and_a_setting(runner, owner, world):
    runner.now = datetime(2026, 6, 20, 12, tzinfo=UTC)
    world.firm().client().engagement(fee="300.00", start_date="2026-06-16", end_date="2027-06-15")
    assert Settings().prorate is False
    preview = runner(GeneratePackageInvoices(), dry_run=True)
    assert preview.numbers["total_USD"] == "300.00"
    prorating = runner.with_settings(prorate=True)
    prorating.now = runner.now
    prorating(GeneratePackageInvoices())
    assert invoices(owner, "total_amount", "subtotal") == [(Decimal("150.00"), Decimal("150.00"))]


def test_more_invoices_than_the_cap_stop_the_run_before_the_first(runner, owner, firm):
    firm.client().engagement()
    firm.client().engagement()
    with pytest.raises(CapExceededError, match=r"raise \[cp_ops\] package_invoices_max to at least 2"):
        runner.with_settings(package_invoices_max=1)(GeneratePackageInvoices())
    assert invoices(owner) == []


def test_more_money_than_the_cap_of_its_currency_stops_the_run_before_the_first(runner, owner, world):
    world.firm(currency="EUR").client().engagement(fee="600.00")
    world.firm(currency="USD").client().engagement(fee="600.00")
    capped = runner.with_settings(package_invoices_max_total="EUR=600, USD=599.99")
    with pytest.raises(CapExceededError, match=r"600\.00 USD is more than 599\.99 USD"):
        capped(GeneratePackageInvoices())
    assert invoices(owner) == []
    assert (
        runner.with_settings(package_invoices_max_total="EUR=600,USD=600")(GeneratePackageInvoices()).done
        == 2
    )


def test_a_wrong_cap_is_an_error_that_names_the_setting():
    given = {"package_invoices_max_total": "USD:5"}
    with pytest.raises(SettingError, match=r"package_invoices_max_total: 'USD:5' is not CURRENCY=AMOUNT"):
        Settings.load(given.get, {})


def test_a_number_taken_by_another_invoice_is_a_skip_with_reason(runner, owner, firm):
    client = firm.client()
    engagement = client.engagement()
    client.invoice(invoice_number=f"PKG-{engagement.id}-{firm.day().replace(day=1)}")
    outcome = runner(GeneratePackageInvoices())
    assert outcome.skip_reasons == {"another invoice bears this invoice's number": 1}
    assert outcome.planned == 0


def test_batches_leave_none_out(runner, owner, firm, monkeypatch):
    monkeypatch.setattr("cp_ops.finance.packages.job.BATCH", 3)
    client = firm.client()
    for _ in range(10):
        client.engagement()
    assert runner(GeneratePackageInvoices()).done == 10


def test_an_invoice_that_the_database_refuses_fails_alone(runner, owner, firm):
    """A deployment's own constraint stands for whatever a database may refuse."""
    client = firm.client()
    keys = [client.engagement().id for _ in range(9)]
    owner.execute(f"ALTER TABLE finance_invoices ADD CHECK (engagement_id <> {keys[4]})")
    with pytest.raises(RowsFailedError, match=f"1 rows failed, 8 done: finance_invoices:PKG-{keys[4]}-"):
        runner(GeneratePackageInvoices())
    assert [row[0] for row in invoices(owner)] == [key for key in keys if key != keys[4]]


def test_what_changes_while_the_run_is_under_way_is_left_alone(runner, owner, firm, monkeypatch):
    client = firm.client()
    ended, billed, kept = (client.engagement() for _ in range(3))
    plan = GeneratePackageInvoices._plan

    def and_then_somebody_else_acts(*args, **kwargs):
        found = plan(*args, **kwargs)
        ended.update(status="completed")
        client.invoice(engagement_id=billed.id, period_start=firm.day().replace(day=1))
        return found

    monkeypatch.setattr(GeneratePackageInvoices, "_plan", and_then_somebody_else_acts)
    outcome = runner(GeneratePackageInvoices())
    assert (outcome.planned, outcome.done) == (3, 1)
    assert outcome.skip_reasons == {"changed since it was planned": 2}
    assert [row[0] for row in invoices(owner)] == [kept.id]


def test_eight_copies_at_once_invoice_each_period_once(runner, owner, firm):
    client = firm.client()
    for _ in range(20):
        client.engagement()
    outcomes: list[object] = []

    def copy():
        try:
            outcomes.append(runner(GeneratePackageInvoices()).done)
        except AlreadyRunningError:
            outcomes.append("already running")

    threads = [threading.Thread(target=copy) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    assert sum(done for done in outcomes if isinstance(done, int)) == 20
    assert len(invoices(owner)) == 20


def test_under_row_level_security_each_firm_gets_its_own(world, owner, enable_row_level_security):
    firms = [world.firm() for _ in range(3)]
    for firm in firms:
        firm.client().engagement()
    hidden = firms[0].client().engagement(firm_id=None)
    runner = enable_row_level_security()
    outcome = runner(GeneratePackageInvoices())
    assert outcome.done == 3
    assert outcome.numbers["engagements_without_firm"] == "hidden by row-level security"
    for firm in firms:
        owner.execute("SELECT set_config('app.current_firm_id', %s, false)", [str(firm.id)])
        assert [row[0] for row in invoices(owner, "firm_id")] == [firm.id]
        assert invoices(owner, where=f"engagement_id = {hidden.id}") == []


def test_one_audit_event_per_firm_counts_the_invoices(runner, owner, firm):
    firm.client().engagement()
    firm.client().engagement()
    runner(GeneratePackageInvoices())
    rows = owner.execute("SELECT firm_id, category, action, metadata FROM firm_audit_events").fetchall()
    assert [row[:3] for row in rows] == [(firm.id, "BILLING_METADATA", "generate_package_invoices.run")]
    assert rows[0][3]["invoices_issued"] == 2


def test_a_missing_column_stops_the_run_before_anything_is_written(runner, owner, engagement):
    owner.execute("ALTER TABLE finance_invoices DROP COLUMN autopay_cadence")
    with pytest.raises(PreflightError, match=r"column finance_invoices\.autopay_cadence is missing"):
        runner(GeneratePackageInvoices())
    assert count(owner) == 0
