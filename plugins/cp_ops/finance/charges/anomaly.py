"""Refuse a plan of charges that is out of the ordinary, measured by what the last runs charged. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import CapExceededError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cp_ops.finance.charges.plan import ChargePlan
    from cp_ops.runtime.money import Money

MEDIAN_OF = 5
"""With fewer earlier runs than this, nothing is known to be usual."""
UNUSUAL = 3
"""A run is unusual above this multiple of the median of recent runs."""


@dataclass(frozen=True, slots=True)
class PastRun:
    """What an earlier run charged: per currency how many invoices, and their sum in Stripe's units."""

    counts: Mapping[str, int]
    sums: Mapping[str, int]

    @property
    def charges(self) -> int:
        """How many invoices in all."""
        return sum(self.counts.values())

    def average(self, currency: str) -> float:
        """Give the average charge in a currency that this run charged, in Stripe's units."""
        return self.sums[currency] / self.counts[currency]


def cap_anomaly(
    planned: ChargePlan, past: Sequence[PastRun], *, least: int, counts: bool = True, sums: bool = True
) -> None:
    """Refuse a plan that is out of the ordinary: more than three times the median of the last runs that charged.

    :param least: up to this many charges the number is never unusual, and the sum only if the average charge is unusual,
        too. Otherwise the first of every month would stop the run.
    :param counts: look at the number of charges; off when the operator has capped it.
    :param sums: look at the sum per currency; off when the operator has capped it.
    :raises CapExceededError: before anything was charged; naming how a person lets it through.
    """
    if len(past) < MEDIAN_OF or not planned.charges:
        return
    many = len(planned.charges) > least
    unusual: list[str] = []
    if counts and many:
        unusual += _unusual_count(len(planned.charges), past)
    if sums:
        unusual += _unusual_sums(planned, past, many=many)
    if unusual:
        raise CapExceededError(
            f"the plan is out of the ordinary: {'; '.join(unusual)}. Nothing new was charged. Look at a dry run; if it is "
            f"right, run again with expected_plan sha256:{planned.plan.sha256}, or with max_charges and max_total of your own"
        )


def _unusual_count(charges: int, past: Sequence[PastRun]) -> Iterator[str]:
    usual = median(run.charges for run in past)
    if charges > UNUSUAL * usual:
        yield f"{charges} charges, the median of the last {len(past)} runs is {usual:g}"


def _unusual_sums(planned: ChargePlan, past: Sequence[PastRun], *, many: bool) -> Iterator[str]:
    for currency, total in planned.totals().items():
        # A currency is measured by the runs that charged it: a firm may just have begun to bill in it.
        known = [run for run in past if currency in run.sums]
        if len(known) < MEDIAN_OF or not _sum_is_unusual(total, known):
            continue
        # A few more invoices than usual make a larger sum without anything being wrong; larger invoices may be wrong.
        average = total.for_stripe() / planned.count_in(currency)
        if many or average > UNUSUAL * median(run.average(currency) for run in known):
            yield f"{total}, more than {UNUSUAL} times what is usual"


def _sum_is_unusual(total: Money, known: Sequence[PastRun]) -> bool:
    return total.for_stripe() > UNUSUAL * median(run.sums[total.currency] for run in known)
