"""What follows an attempt of a delivery, and what is left untried when a run stops."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cp_ops.mail.delivery.sending import POLICY as MAILS
from cp_ops.runtime.deliveries import DeliveryPolicy, deliver
from cp_ops.runtime.errors import LeaseLostError, RemoteRefusedError, RemoteUnavailableError, RowFailedError
from cp_ops.solana.announcing.webhook import POLICY as WEBHOOKS

NOW = datetime(2026, 11, 1, tzinfo=UTC)


class OfEveryRowError(RemoteUnavailableError):
    """The peer takes nothing from us."""


class Box:
    """An outbox whose peer answers each row as the test says; it keeps what became of the rows."""

    policy = DeliveryPolicy(claim_seconds=60, spacing=(10, 20))
    of_every_row = (OfEveryRowError,)

    def __init__(self, answers, stops_after=()):
        self.answers, self.stops_after = answers, stops_after
        self.ended = []

    def attempt(self, row):
        if (answer := self.answers.get(row["id"])) is not None:
            raise answer

    def delivered(self, row):
        self.ended.append((row["id"], "delivered"))

    def put_back(self, row, error, seconds):
        self.ended.append((row["id"], seconds))

    def give_up(self, row, error):
        self.ended.append((row["id"], "given up"))

    def goes_on(self, error):
        return not isinstance(error, self.stops_after)


def claimed(*attempts):
    return [{"id": number, "attempts": tried} for number, tried in enumerate(attempts, start=1)]


def test_a_passing_failure_is_tried_again_with_spacing_and_then_given_up():
    later = RemoteUnavailableError("later")
    box, rows = Box({1: later, 2: later, 3: later}), claimed(1, 2, 3)
    deliver(box, rows)
    assert box.ended == [(1, 10), (2, 20), (3, "given up")]
    assert rows == []


@pytest.mark.parametrize("error", [RemoteRefusedError("never"), RowFailedError("nothing to hand over")])
def test_what_will_never_be_taken_is_given_up_at_once_and_the_others_go_on(error):
    box = Box({1: error})
    deliver(box, claimed(1, 1))
    assert box.ended == [(1, "given up"), (2, "delivered")]


def test_an_error_of_every_row_ends_the_run_and_its_row_counts_as_not_tried():
    box, rows = Box({2: OfEveryRowError("nothing from us")}), claimed(1, 1, 1)
    with pytest.raises(OfEveryRowError):
        deliver(box, rows)
    assert box.ended == [(1, "delivered")]
    assert [row["id"] for row in rows] == [2, 3]


def test_an_outbox_that_stops_leaves_the_rest_untried():
    box, rows = (
        Box({2: RemoteUnavailableError("gone")}, stops_after=(RemoteUnavailableError,)),
        claimed(1, 1, 1),
    )
    deliver(box, rows)
    assert box.ended == [(1, "delivered"), (2, 10)]
    assert [row["id"] for row in rows] == [3]


def test_a_row_whose_attempt_nobody_understands_is_left_to_its_claim():
    box, rows = Box({1: LeaseLostError("taken over")}), claimed(1, 1)
    with pytest.raises(LeaseLostError):
        deliver(box, rows)
    assert (box.ended, [row["id"] for row in rows]) == ([], [2])


def test_only_a_redelivery_reaches_back_to_what_was_given_up():
    assert MAILS.given_up_since(NOW, redeliver=False) is None
    assert MAILS.given_up_since(NOW, redeliver=True) == NOW - timedelta(days=30)


@pytest.mark.parametrize(
    ("policy", "hours"), [(MAILS, [5 / 60, 0.25, 1, 4, 12]), (WEBHOOKS, [1 / 60, 5 / 60, 0.25, 1, 4, 12, 24])]
)
def test_the_spacing_is_as_documented(policy, hours):
    pauses = [policy.pause_after(attempts) for attempts in range(1, len(hours) + 2)]
    assert pauses == [*(round(hour * 3_600) for hour in hours), None]
