"""Options of generate_package_invoices."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from typing import Annotated

from pydantic import BeforeValidator, Field

from cp_ops.runtime.options import FirmOptions

EARLIEST = date(2000, 1, 1)


def _iso_day(value: object) -> object:
    if value is None or type(value) is date:
        return value
    if isinstance(value, str) and len(value) == len("YYYY-MM-DD"):
        with suppress(ValueError):
            return date.fromisoformat(value)
    raise ValueError("must be a day as YYYY-MM-DD")


class GeneratePackageInvoicesOptions(FirmOptions):
    """Options of generate_package_invoices."""

    reference_date: Annotated[date | None, BeforeValidator(_iso_day)] = Field(
        default=None,
        ge=EARLIEST,
        title="Reference date",
        description=(
            "The day (YYYY-MM-DD) whose billing periods are invoiced, at most 31 days ahead. Empty means "
            "today, where the firm is."
        ),
    )
    backfill: bool = Field(
        default=False,
        title="Backfill",
        description="Also invoice the earlier periods that were never invoiced, since each engagement's start.",
    )
