"""Options of process_recurring_charges."""

from __future__ import annotations

from pydantic import Field, field_validator

from cp_ops.runtime.money import parse_limits
from cp_ops.runtime.options import FirmOptions


class ProcessRecurringChargesOptions(FirmOptions):
    """Options of process_recurring_charges."""

    max_charges: int | None = Field(
        default=None,
        ge=0,
        title="Most charges",
        description="Stop before the first charge if more invoices than this are due. Empty: [cp_ops] charges_max.",
    )
    max_total: str | None = Field(
        default=None,
        title="Most in all",
        description=(
            "Stop before the first charge if the sum of a currency is more than this, such as USD=50000, EUR=20000, or "
            "if a currency is not named. Empty: [cp_ops] charges_max_total."
        ),
    )
    expected_plan: str | None = Field(
        default=None,
        pattern=r"^(sha256:)?[0-9a-f]{64}$",
        title="Approved plan",
        description="The plan's hash of a dry run: charge exactly what it showed, or nothing if the data changed since.",
    )

    @field_validator("max_total")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        if text is not None:
            parse_limits(text)
        return text
