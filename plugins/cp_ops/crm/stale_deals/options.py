"""Options of check_stale_deals."""

from __future__ import annotations

from pydantic import Field

from cp_ops.runtime.options import FirmOptions


class CheckStaleDealsOptions(FirmOptions):
    """Options of check_stale_deals."""

    days: int | None = Field(
        default=None,
        gt=0,
        title="Days without activity",
        description=(
            "A deal is stale after this many days without activity. Empty means each deal's own "
            "threshold, or 30 where it has none."
        ),
    )
