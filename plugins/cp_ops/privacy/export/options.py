"""Options of export_user_data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cp_ops.runtime.options import JobOptions


class ExportUserDataOptions(JobOptions):
    """Options of export_user_data."""

    user_id: int = Field(
        gt=0, title="User", description="Id of the user (auth_user.id) whose data is exported"
    )
    output_dir: str = Field(
        min_length=1,
        title="Where to",
        description=(
            "An absolute path of a folder on the worker, or s3://bucket/prefix. In a folder only the "
            "worker's account can read the archive. In S3 the archive is encrypted at rest."
        ),
        examples=["/var/lib/exports", "s3://privacy-exports/requests"],
    )
    format: Literal["all", "jsonl", "csv"] = Field(
        default="all",
        title="Format",
        description="Tables as JSON Lines for machines, as CSV for people, or both in the same archive",
    )
