"""Caps on money: a plan that moves more than a deployment allows stops before its first effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cp_ops.runtime.errors import CapExceededError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cp_ops.runtime.money import Money


def cap_totals(setting: str, sums: Mapping[str, Money], limits: Mapping[str, Money]) -> None:
    """Refuse totals above their currency's limit; a currency without one is not limited.

    :param setting: the name of the setting or option that raises the limits.
    :raises CapExceededError: naming each total that is too large.
    """
    over = [
        f"{total} is more than {limits[currency]}"
        for currency, total in sums.items()
        if currency in limits and total.minor_units > limits[currency].minor_units
    ]
    if over:
        raise CapExceededError(
            f"the plan's total of {' and '.join(over)}, the most that {setting} allows; nothing was done. "
            f"Look at a dry run; if it is right, raise {setting}"
        )
