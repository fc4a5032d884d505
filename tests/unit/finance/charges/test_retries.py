"""When a failed charge is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cp_ops.finance.charges.retries import RETRY_AFTER, next_attempt

NOW = datetime(2028, 2, 29, 12, tzinfo=UTC)


@given(st.integers(1, 20), st.datetimes(timezones=st.just(UTC), max_value=datetime(9000, 1, 1)))  # noqa: DTZ001 - the strategy adds it
def test_retries_come_after_3_7_and_14_days_and_never_again_after_that(failures, now):
    expected = {1: 3, 2: 7, 3: 14}.get(failures)
    assert next_attempt(failures, now) == (now + timedelta(days=expected) if expected else None)


def test_the_schedule_crosses_month_ends_and_leap_days():
    assert next_attempt(1, NOW) == datetime(2028, 3, 3, 12, tzinfo=UTC)
    assert sum(RETRY_AFTER, timedelta()) == timedelta(days=24)
