"""The one record that every run ends in."""

from __future__ import annotations

import json
import re

import pytest

from cp_ops.runtime.errors import (
    RemoteUnavailableError,
    RowFailedError,
    RowsFailedError,
    TransientRowsFailedError,
    Verdict,
)
from cp_ops.runtime.outcome import NAMED_FAILURES, Outcome


def outcome(**counts) -> Outcome:
    return Outcome("check_stale_deals", dry_run=False, **counts)


def test_skips_are_counted_by_reason():
    run = outcome()
    run.skip("locked")
    run.skip("locked", 4)
    run.skip("expired", 2)
    assert run.skipped == 7
    assert run.skip_reasons == {"locked": 5, "expired": 2}


def test_a_run_without_failures_raises_nothing():
    run = outcome(done=3)
    run.skip("locked")
    run.raise_for_failures()


def test_a_failed_row_is_named_with_its_reason_and_fails_the_task():
    run = outcome(done=8)
    run.fail("crm_deals:4", RowFailedError("its stage is gone"))
    with pytest.raises(
        RowsFailedError, match=r"^1 rows failed, 8 done: crm_deals:4: its stage is gone$"
    ) as failed:
        run.raise_for_failures()
    assert failed.value.verdict is Verdict.FAIL


def test_failures_that_may_pass_make_the_task_retry_but_one_that_does_not_makes_it_fail():
    run = outcome()
    run.fail("mail:1", RemoteUnavailableError("busy"))
    with pytest.raises(TransientRowsFailedError) as failed:
        run.raise_for_failures()
    assert failed.value.verdict is Verdict.RETRY
    run.fail("mail:2", RowFailedError("no address"))
    with pytest.raises(RowsFailedError) as failed:
        run.raise_for_failures()
    assert type(failed.value) is RowsFailedError


def test_all_failures_are_counted_and_the_first_are_named():
    run = outcome()
    for number in range(200):
        run.fail(f"mail:{number}", RowFailedError("no address"), rows=3)
    assert run.failed == 600
    assert len(run.failures) == NAMED_FAILURES
    with pytest.raises(RowsFailedError, match=r"mail:9: no address \.\.\. and 570 more$"):
        run.raise_for_failures()


def test_one_failure_that_covers_many_rows_leaves_nothing_unnamed():
    run = outcome()
    run.fail("finance_stripe_webhook_events:firm:1", RowFailedError("locked"), rows=5_000)
    with pytest.raises(
        RowsFailedError, match=r"^5000 rows failed, 0 done: finance_stripe_webhook_events:firm:1: locked$"
    ):
        run.raise_for_failures()


def test_a_foreign_exception_becomes_a_reason_without_its_values():
    run = outcome()
    assert run.fail("clients:1", KeyError("jane@example.com")).reason == "unexpected error (KeyError)"
    assert "jane" not in json.dumps(run.as_dict())


def test_the_record_is_json_and_counts_everything():
    run = outcome(planned=5, done=3, remote_calls=2, statements=9, plan_sha256="ab", elapsed=1.23456)
    run.skip("locked")
    run.fail("crm_deals:4", RowFailedError("gone"))
    run.numbers["forgotten"] = 7
    record = json.loads(json.dumps(run.as_dict()))
    assert record["failures"] == [{"target": "crm_deals:4", "reason": "gone"}]
    assert record["findings"] == {"opened": 0, "seen_again": 0, "resolved": 0}
    assert (record["planned"], record["done"], record["skipped"], record["failed"]) == (5, 3, 1, 1)
    assert (record["plan"], record["elapsed"], record["numbers"]) == ("sha256:ab", 1.235, {"forgotten": 7})


def test_the_last_log_line_has_one_form():
    line = outcome(planned=5, done=3, plan_sha256="ab", elapsed=1.5).line()
    assert line == (
        "outcome command=check_stale_deals dry_run=false planned=5 done=3 skipped=0 failed=0 remote_calls=0 "
        "statements=0 elapsed=1.50s plan=sha256:ab"
    )
    assert re.search(r"dry_run=true .* plan=-$", Outcome("check_stale_deals", dry_run=True).line())
