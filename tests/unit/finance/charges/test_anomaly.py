"""When a plan of charges is out of the ordinary."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from cp_ops.finance.charges.anomaly import PastRun, cap_anomaly
from cp_ops.runtime.errors import CapExceededError
from tests.unit.finance.charges.charge_rows import DUE, plan


def many(count, total="10.00"):
    return plan(*(replace(DUE, id=number, total_amount=Decimal(total)) for number in range(1, count + 1)))


USUAL = [PastRun({"USD": 10}, {"USD": 10_000})] * 5


@pytest.mark.parametrize(("count", "stops"), [(30, False), (31, True)])
def test_more_than_three_times_the_median_is_unusual(count, stops):
    if stops:
        with pytest.raises(CapExceededError, match="expected_plan sha256:"):
            cap_anomaly(many(count), USUAL, least=5)
    else:
        cap_anomaly(many(count), USUAL, least=5)


def test_an_unusual_sum_is_unusual_too():
    with pytest.raises(CapExceededError, match="times what is usual"):
        cap_anomaly(many(10, "50.00"), USUAL, least=5)


def test_few_charges_of_a_usual_size_and_a_short_history_are_never_unusual():
    cap_anomaly(many(5), [PastRun({"USD": 1}, {"USD": 1_000})] * 5, least=5)
    cap_anomaly(many(5, "60.00"), USUAL, least=5)
    cap_anomaly(many(1000), USUAL[:4], least=5)


def test_few_charges_of_an_unusual_size_are_unusual():
    with pytest.raises(CapExceededError, match=r"9,999\.00 USD, more than 3 times"):
        cap_anomaly(many(1, "9999.00"), USUAL, least=5)


def test_a_currency_is_measured_by_itself():
    mixed = [PastRun({"USD": 10, "EUR": 1}, {"USD": 10_000, "EUR": 100_000})] * 5
    with pytest.raises(CapExceededError):
        cap_anomaly(many(4, "100.00"), mixed, least=5)
    cap_anomaly(plan(replace(DUE, currency="EUR", total_amount=Decimal("1500.00"))), mixed, least=5)


@pytest.mark.parametrize(
    ("capped", "stops"), [({"counts": False}, "times what is usual"), ({"sums": False}, "40 charges")]
)
def test_what_the_operator_has_capped_is_not_measured_and_the_rest_is(capped, stops):
    with pytest.raises(CapExceededError, match=stops) as raised:
        cap_anomaly(many(40), USUAL, least=5, **capped)
    assert ";" not in str(raised.value).split(". Nothing")[0]
    cap_anomaly(many(40), USUAL, least=5, counts=False, sums=False)
