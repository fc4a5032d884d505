"""Options of reconcile_stripe."""

from __future__ import annotations

from pydantic import Field

from cp_ops.runtime.options import FirmOptions


class ReconcileStripeOptions(FirmOptions):
    """Options of reconcile_stripe."""

    full: bool = Field(
        default=False,
        title="Full",
        description=(
            "On compares every invoice that ever referred to Stripe. Off compares the look-back window, "
            "what is still open, what Stripe's events say has changed, and what has an open finding."
        ),
    )
