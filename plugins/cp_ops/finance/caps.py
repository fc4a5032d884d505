"""Caps on money: a plan that moves more than a deployment allows stops before its first effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cp_ops.runtime.errors import CapExceededError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cp_ops.runtime.money import Money


def cap_totals(
    setting: str,
    sums: Mapping[str, Money],
    limits: Mapping[str, Money],
    *,
    every_currency: bool = False,
    stopped: str = "nothing was done",
) -> None:
    """Refuse totals above their currency's limit.

    :param setting: the name of the setting or option that raises the limits.
    :param every_currency: refuse a currency without a limit, too; else it is not limited.
    :param stopped: what was stopped, for the message.
    :raises CapExceededError: naming each total that is too large.
    """
    over = [
        f"{total} is more than {limits[currency]}"
        for currency, total in sums.items()
        if currency in limits and total.minor_units > limits[currency].minor_units
    ]
    if over:
        raise CapExceededError(
            f"the plan's total of {' and '.join(over)}, the most that {setting} allows; {stopped}. "
            f"Look at a dry run; if it is right, raise {setting}"
        )
    unnamed = [str(total) for currency, total in sums.items() if every_currency and currency not in limits]
    if unnamed:
        raise CapExceededError(
            f"the plan's total of {' and '.join(unnamed)} is in a currency that {setting} does not name; {stopped}. "
            f"Look at a dry run; if it is right, name the most of it in {setting}, too"
        )
