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
            "Also compare each version's SHA-256 with the one that S3 keeps. This costs one more call for "
            "each object that has one. Only deep runs open and resolve these findings."
        ),
    )
