"""What the outboxes have in common: how often a delivery is tried, when it is given up, and in which order that is written.

An outbox is a table whose rows are committed with the decision that they tell of. Its delivery claims rows that are due,
tries one after the other, and commits what became of each before it tries the next. So a crash repeats one delivery at
most, and never loses one: a claim runs out by itself.

The outboxes are `cp_ops.mail` (mail/delivery) and the webhook of `cp_ops.solana_payment_event` (solana/announcing). Each
has its own statements and its own words. What follows an attempt is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

from cp_ops.runtime.errors import RemoteRefusedError, RemoteUnavailableError, RowFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cp_ops.runtime.errors import CpOpsError
    from cp_ops.runtime.job import JobRun

Row = dict[str, Any]
"""A claimed row as its claiming statement gives it. It has `id`, and `attempts` with the present one counted."""


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How patiently an outbox is delivered.

    :param claim_seconds: how long a claimed row belongs to its run: longer than what was claimed at once can take, as
        another run delivers it again after that.
    :param spacing: seconds until the next attempt, after the first failure, the second, and so on. After one failure more
        the row is given up.
    :param given_up_within: how far back option `redeliver` reaches.
    """

    claim_seconds: int
    spacing: tuple[int, ...]
    given_up_within: timedelta = timedelta(days=30)

    def pause_after(self, attempts: int) -> int | None:
        """Give the seconds until the next attempt; None when there was the last one."""
        return self.spacing[attempts - 1] if attempts <= len(self.spacing) else None

    def given_up_since(self, now: datetime, *, redeliver: bool) -> datetime | None:
        """Give the time since which rows that were given up are taken up again; None for none of them."""
        return now - self.given_up_within if redeliver else None


class Outbox(Protocol):
    """What an outbox does itself. Each of the four endings commits in a transaction of its own."""

    @property
    def policy(self) -> DeliveryPolicy:
        """How patiently it is delivered."""

    @property
    def of_every_row(self) -> tuple[type[CpOpsError], ...]:
        """Errors of an attempt that concern every row: they end the run, and the row counts as not tried."""

    def attempt(self, row: Row) -> None:
        """Hand a row over.

        :raises RemoteRefusedError: it will never be taken; RowFailedError: there is nothing that could be handed over.
        :raises RemoteUnavailableError: it was not taken now.
        """

    def delivered(self, row: Row) -> None:
        """Record that a row was taken."""

    def put_back(self, row: Row, error: CpOpsError, seconds: int) -> None:
        """Record that a row is tried again after some seconds."""

    def give_up(self, row: Row, error: CpOpsError) -> None:
        """Record that a row is not tried any more, until somebody asks for it."""

    def goes_on(self, error: CpOpsError | None) -> bool:
        """Whether the next row is tried, after this one was taken (None) or failed with an error."""


def claim(run: JobRun, policy: DeliveryPolicy, statement: str, **which: Any) -> list[Row]:
    """Claim rows that are due, in a transaction of its own; give them in the order of their ids.

    :param statement: claims with ``FOR UPDATE SKIP LOCKED``, so that two runs never deliver the same row.
    :param which: the statement's parameters beside `now` and `seconds`, for how long.
    """
    with run.write() as tx:
        rows = tx.rows(statement, now=run.now, seconds=policy.claim_seconds, **which)
    return sorted(rows, key=itemgetter("id"))


def deliver(outbox: Outbox, untried: list[Row]) -> None:
    """Try claimed rows in order, and conclude each before the next; stop where the outbox says so.

    :param untried: the claimed rows. Each is taken out of the list before it is tried, so that what is left afterwards, also
        after an error, is what nobody has tried and the outbox may put back. An error that nobody foresaw leaves its row
        to its claim: it may have arrived, and must not be put back as if nothing had happened.
    """
    while untried:
        row = untried.pop(0)
        try:
            error = _failure_of(outbox, row)
        except outbox.of_every_row:
            untried.insert(0, row)
            raise
        _conclude(outbox, row, error)
        if not outbox.goes_on(error):
            return


def _failure_of(outbox: Outbox, row: Row) -> CpOpsError | None:
    try:
        outbox.attempt(row)
    except outbox.of_every_row:
        raise
    except (RemoteRefusedError, RemoteUnavailableError, RowFailedError) as error:
        return error
    return None


def _conclude(outbox: Outbox, row: Row, error: CpOpsError | None) -> None:
    if error is None:
        outbox.delivered(row)
        return
    pause = outbox.policy.pause_after(row["attempts"])
    if isinstance(error, RemoteUnavailableError) and pause is not None:
        outbox.put_back(row, error, pause)
    else:
        outbox.give_up(row, error)


def ids_of(rows: Iterable[Row]) -> list[int]:
    """Give the ids of rows."""
    return [row["id"] for row in rows]
