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
        description=(
            "Stop before the first new charge if more invoices than this are due. Empty means setting "
            "charges_max."
        ),
    )
    max_total: str | None = Field(
        default=None,
        title="Most in all",
        description=(
            "Stop before the first new charge if a currency's sum is more than this, or if a currency "
            "that is due is not named, for example USD=50000, EUR=20000. Empty means setting "
            "charges_max_total."
        ),
    )
    expected_plan: str | None = Field(
        default=None,
        pattern=r"^(sha256:)?[0-9a-f]{64}$",
        title="Approved plan",
        description=(
            "Hash of the plan that a dry run showed. The run charges exactly that plan, or nothing if the "
            "data changed since."
        ),
    )

    @field_validator("max_total")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        if text is not None:
            parse_limits(text)
        return text
