"""The planner of package invoices: which periods are due, for how much, and why the others are not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.finance.packages.plan import (
    FirmBilling,
    PackageEngagement,
    invoice_number,
    plan_package_invoices,
    start_of_day,
)

FIRM = 7


def firm(today="2025-03-15", reference=None, currency="USD", timezone="America/New_York"):
    day = date.fromisoformat(today)
    return FirmBilling(day, date.fromisoformat(reference) if reference else day, currency, timezone)


def engagement(
    fee="1000.00", schedule="monthly", start="2024-06-10", end="2026-06-09", *, key=1, invoices=(), **fields
):
    """An engagement; invoices as (from, until, generated, cancelled)."""
    columns = [list(column) for column in zip(*invoices, strict=True)] or [[], [], [], []]
    return PackageEngagement(
        id=key,
        firm_id=FIRM,
        **{
            "own_firm_id": FIRM,
            "package_fee": None if fee is None else Decimal(fee),
            "package_fee_schedule": schedule,
            "start_date": date.fromisoformat(start),
            "end_date": date.fromisoformat(end),
            "invoiced_from": [date.fromisoformat(day) for day in columns[0]],
            "invoiced_until": [date.fromisoformat(day) for day in columns[1]],
            "generated": columns[2],
            "cancelled": columns[3],
        }
        | fields,
    )


def plan(*engagements, billing=None, **rules):
    return plan_package_invoices(engagements, firms={FIRM: billing or firm()}, **rules)


def issued(*engagements, **rules):
    """(period start, period end, minor units) of each planned invoice."""
    found = plan(*engagements, **rules)
    assert found.unbillable == ()
    return [
        (action.data["period_start"], action.data["period_end"], action.data["minor_units"])
        for action in found.plan.actions
    ]


def reasons(*engagements, **rules):
    found = plan(*engagements, **rules)
    assert found.plan.actions == ()
    return [skip.reason for skip in found.plan.skips]


@pytest.mark.parametrize(
    ("schedule", "start", "end"),
    [
        ("monthly", "2025-03-01", "2025-03-31"),
        ("quarterly", "2025-01-01", "2025-03-31"),
        ("annual", "2025-01-01", "2025-12-31"),
        ("Yearly", "2025-01-01", "2025-12-31"),
        ("one-time", "2024-06-10", "2026-06-09"),
    ],
)
def test_the_current_period_is_invoiced(schedule, start, end):
    assert issued(engagement(schedule=schedule)) == [(start, end, 100000)]


@pytest.mark.parametrize("schedule", ["weekly", "", "bi-monthly", "30 days"])
def test_an_unknown_schedule_is_a_skip_not_monthly(schedule):
    """A trap: anything unknown was billed monthly."""
    assert reasons(engagement(schedule=schedule)) == ["unknown schedule"]


def test_an_engagement_of_the_future_is_not_billed():
    """A trap: it was billed with an end before the start."""
    assert reasons(engagement(start="2025-03-16")) == ["not started yet"]
    assert reasons(engagement(start="2025-03-16"), backfill=True) == ["not started yet"]
    assert issued(engagement(start="2025-03-15")) == [("2025-03-15", "2025-03-31", 100000)]


def test_an_ended_engagement_is_not_billed():
    assert reasons(engagement(end="2025-03-14")) == ["ended"]
    assert issued(engagement(end="2025-03-15")) == [("2025-03-01", "2025-03-15", 100000)]


def test_the_earlier_of_planned_and_actual_end_counts():
    assert reasons(engagement(actual_end_date=date(2025, 3, 14))) == ["ended"]
    assert issued(engagement(end="2025-03-20", actual_end_date=date(2025, 6, 1))) == [
        ("2025-03-01", "2025-03-20", 100000)
    ]


@pytest.mark.parametrize("fee", [None, "0.00", "-5.00"])
def test_without_a_fee_there_is_nothing_to_invoice(fee):
    assert reasons(engagement(fee=fee)) == ["no package fee"]


def test_an_end_before_the_start_is_a_skip():
    assert reasons(engagement(start="2025-03-10", end="2025-03-01")) == ["ends before it starts"]


def test_a_period_is_invoiced_once():
    assert reasons(engagement(invoices=[("2025-03-01", "2025-03-31", True, False)])) == ["already invoiced"]


def test_a_manual_invoice_with_the_same_period_start_is_a_skip_with_reason():
    assert reasons(engagement(invoices=[("2025-03-01", "2025-03-01", False, False)])) == [
        "a manual invoice has the same period start"
    ]


def test_a_manual_invoice_of_other_days_does_not_matter():
    assert len(issued(engagement(invoices=[("2025-03-02", "2025-03-31", False, False)]))) == 1


def test_a_cancelled_invoice_keeps_its_period_and_says_so():
    assert reasons(engagement(invoices=[("2025-03-01", "2025-03-31", True, True)])) == [
        "the invoice of this period was cancelled"
    ]


@pytest.mark.parametrize(
    ("fields", "earlier"),
    [
        ({"start": "2025-03-05"}, ("2025-03-10", "2025-03-31")),
        ({"start": "2025-03-10"}, ("2025-03-05", "2025-03-31")),
        ({"schedule": "monthly"}, ("2025-01-01", "2025-12-31")),
        ({"schedule": "annual"}, ("2025-02-01", "2025-02-28")),
        ({"schedule": "one-time"}, ("2025-02-01", "2025-02-28")),
    ],
)
def test_days_that_were_billed_are_not_billed_again_after_the_engagement_was_changed(fields, earlier):
    changed = engagement(**fields, invoices=[(*earlier, True, False)])
    assert reasons(changed) == ["an invoice of this engagement covers days of this period"]


def test_a_number_that_another_invoice_bears_is_a_skip():
    assert reasons(engagement(), taken_numbers={(FIRM, "PKG-1-2025-03-01")}) == [
        "another invoice bears this invoice's number"
    ]
    assert len(issued(engagement(), taken_numbers={(FIRM + 1, "PKG-1-2025-03-01")})) == 1


def test_backfill_invoices_every_missed_period_and_only_those():
    missed = engagement(
        start="2024-11-20",
        invoices=[("2024-12-01", "2024-12-31", True, False), ("2025-02-01", "2025-02-28", False, False)],
    )
    assert issued(missed, backfill=True) == [
        ("2024-11-20", "2024-11-30", 100000),
        ("2025-01-01", "2025-01-31", 100000),
        ("2025-03-01", "2025-03-31", 100000),
    ]


def test_backfill_reaches_ended_engagements():
    assert issued(engagement(start="2025-01-15", end="2025-02-10"), backfill=True) == [
        ("2025-01-15", "2025-01-31", 100000),
        ("2025-02-01", "2025-02-10", 100000),
    ]


def test_the_whole_fee_is_billed_for_part_of_a_period_unless_prorate_is_on():
    short = engagement(start="2025-03-12")
    assert issued(short) == [("2025-03-12", "2025-03-31", 100000)]
    assert issued(short, prorate=True) == [("2025-03-12", "2025-03-31", 64516)]  # 20 of 31 days
    assert issued(engagement(), prorate=True) == [("2025-03-01", "2025-03-31", 100000)]
    assert issued(engagement(schedule="one-time"), prorate=True)[0][2] == 100000


def test_a_leap_day_is_a_day():
    leap = engagement(fee="290.00", start="2024-02-29", end="2024-12-31")
    assert issued(leap, prorate=True, billing=firm("2024-02-29"))[0][2] == 1000


def test_a_fee_pro_rated_to_nothing_is_a_skip():
    assert reasons(engagement(fee="0.01", start="2025-03-15", end="2025-03-15"), prorate=True) == [
        "pro-rated to nothing"
    ]


@pytest.mark.parametrize(("currency", "units"), [("USD", 100000), ("JPY", 1000), ("KWD", 1000000)])
def test_money_is_in_minor_units_of_the_firms_currency(currency, units):
    assert issued(engagement(), billing=firm(currency=currency))[0][2] == units


def test_a_fee_that_its_currency_cannot_express_fails_that_engagement_alone():
    found = plan(engagement("10.50", key=1), engagement("10.00", key=2), billing=firm(currency="JPY"))
    assert [action.data["engagement_id"] for action in found.plan.actions] == [2]
    [(target, error)] = found.unbillable
    assert target == "clients_engagement:1"
    assert "10.50 JPY is finer" in str(error)


def test_an_engagement_without_firm_is_its_clients():
    assert len(issued(engagement(own_firm_id=None))) == 1


def test_an_engagement_of_another_firm_than_its_client_fails():
    found = plan(engagement(own_firm_id=FIRM + 1))
    assert found.plan.actions == ()
    assert "belongs to firm 8, its client to firm 7" in str(found.unbillable[0][1])


def test_an_invoice_is_issued_today_due_in_thirty_days_and_charged_on_that_day():
    """A trap: a null next charge means at once."""
    [action] = plan(engagement()).plan.actions
    assert action.data["issue_date"] == "2025-03-15"
    assert action.data["due_date"] == "2025-04-14"
    assert action.data["next_charge_at"] == "2025-04-14T04:00:00+00:00"  # midnight in New York


def test_a_backfilled_period_is_due_in_thirty_days_too_not_in_the_past():
    found = plan(engagement(start="2024-01-01"), backfill=True, billing=firm(reference="2024-03-31"))
    assert {action.data["due_date"] for action in found.plan.actions} == {"2025-04-14"}


def test_an_invoice_issued_ahead_is_due_thirty_days_into_its_period():
    [action] = plan(engagement(), billing=firm(reference="2025-04-02")).plan.actions
    assert (action.data["period_start"], action.data["due_date"]) == ("2025-04-01", "2025-05-01")


def test_the_number_names_engagement_and_period():
    assert invoice_number(42, date(2025, 3, 1)) == "PKG-42-2025-03-01"
    assert invoice_number(42, date(999, 3, 1)) == "PKG-42-0999-03-01"


engagements = st.builds(
    lambda fee, schedule, start, length: PackageEngagement(
        1, FIRM, None, Decimal(fee) / 100, schedule, start, start + timedelta(days=length)
    ),
    st.integers(1, 10**8),
    st.sampled_from(["monthly", "quarterly", "annual", "one-time"]),
    st.dates(date(2015, 1, 1), date(2030, 12, 31)),
    st.integers(0, 1200),
)
references = st.dates(date(2015, 1, 1), date(2033, 12, 31))


@given(engagements, references, st.booleans(), st.booleans())
def test_whatever_is_planned_is_in_order(found, reference, prorate, backfill):
    billing = FirmBilling(reference, reference, "USD", "Europe/Paris")
    actions = plan(found, billing=billing, prorate=prorate, backfill=backfill).plan.actions
    for action in actions:
        data = action.data
        assert found.start_date.isoformat() <= data["period_start"] <= data["period_end"]
        assert data["period_end"] <= found.end_date.isoformat()
        assert data["period_start"] <= reference.isoformat()
        assert 0 < data["minor_units"] <= found.package_fee * 100
        assert date.fromisoformat(data["due_date"]) - date.fromisoformat(data["issue_date"]) == timedelta(30)
    for earlier, later in pairwise(actions):
        assert earlier.data["period_end"] < later.data["period_start"]


@given(engagements, references, st.booleans())
def test_what_was_invoiced_is_not_planned_again(found, reference, backfill):
    billing = FirmBilling(reference, reference, "USD", "UTC")
    first = plan(found, billing=billing, backfill=backfill).plan
    starts = [date.fromisoformat(action.data["period_start"]) for action in first.actions]
    after = PackageEngagement(
        *(1, FIRM, None, found.package_fee, found.package_fee_schedule, found.start_date, found.end_date),
        invoiced_from=starts,
        invoiced_until=[date.fromisoformat(action.data["period_end"]) for action in first.actions],
        generated=[True] * len(starts),
        cancelled=[False] * len(starts),
    )
    again = plan(after, billing=billing, backfill=backfill).plan
    assert again.actions == ()
    assert [skip.reason for skip in again.skips if skip.reason == "already invoiced"] == [
        "already invoiced"
    ] * len(starts)


@given(st.integers(1, 10**8), st.dates(date(2020, 1, 1), date(2028, 12, 31)), st.data())
def test_an_engagement_and_its_renewal_in_one_month_pay_one_fee_between_them(cents, cut, data):
    """Pro-rated shares of a period add up to the fee, wherever it is cut."""
    fee = str(Decimal(cents) / 100)
    first_day = cut.replace(day=1)
    last_day = (first_day + timedelta(days=40)).replace(day=1) - timedelta(days=1)
    parts = [engagement(fee, start=first_day.isoformat(), end=cut.isoformat(), key=1)]
    if cut < last_day:
        renewal = (cut + timedelta(days=1)).isoformat()
        parts.append(engagement(fee, start=renewal, end=last_day.isoformat(), key=2))
    billing = firm(last_day.isoformat())
    found = plan(*parts, prorate=True, backfill=True, billing=billing)
    assert sum(action.data["minor_units"] for action in found.plan.actions) == cents


@given(st.dates(date(1975, 1, 2), date(2035, 12, 31)), st.sampled_from(sorted(available_timezones())))
def test_the_charge_falls_on_the_due_day_in_every_time_zone(day, timezone):
    instant = start_of_day(day, timezone)
    assert instant.tzinfo is UTC
    local = instant.astimezone(ZoneInfo(timezone))
    skipped_by_the_date_line = {
        "Pacific/Apia",
        "Pacific/Kwajalein",
        "Kwajalein",
        "Pacific/Fakaofo",
        "Pacific/Enderbury",
        "Pacific/Kanton",
        "Pacific/Kiritimati",
    }
    if timezone not in skipped_by_the_date_line:
        assert local.date() == day
        assert local - timedelta(hours=2) < datetime.combine(day, datetime.min.time(), ZoneInfo(timezone))


def test_the_same_data_give_the_same_hash():
    assert plan(engagement()).plan.sha256 == plan(engagement()).plan.sha256
    assert plan(engagement()).plan.sha256 != plan(engagement("1000.01")).plan.sha256
