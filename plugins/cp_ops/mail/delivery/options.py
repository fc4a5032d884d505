"""Options of cp_ops_deliver_mail."""

from __future__ import annotations

from pydantic import Field

from cp_ops.runtime.options import JobOptions


class DeliverMailOptions(JobOptions):
    """Options of cp_ops_deliver_mail."""

    max_mails: int = Field(
        default=1_000, gt=0, le=10_000, title="At most", description="Most mails that one run sends."
    )
    redeliver: bool = Field(
        default=False,
        title="Deliver again what was given up",
        description=(
            "Send again mails that were given up within the last 30 days and whose text is still kept."
        ),
    )
