"""Options of reconcile_s3."""

from __future__ import annotations

from pydantic import Field

from cp_ops.runtime.options import FirmOptions


class ReconcileS3Options(FirmOptions):
    """Options of reconcile_s3."""

    deep: bool = Field(
        default=False,
        title="Deep",
        description=(
            "Also compare each version's SHA-256 with the one that S3 keeps: one more call for each object that has one. "
            "Findings of an earlier deep run stay as they are in a run that is not deep"
        ),
    )
