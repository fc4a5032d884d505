"""Options of replay_erasures."""

from __future__ import annotations

from pydantic import Field

from cp_ops.runtime.options import JobOptions


class ReplayErasuresOptions(JobOptions):
    """Options of replay_erasures."""

    journal: str | None = Field(
        default=None,
        title="Journal",
        description=(
            "Path of the journal file, read beside the journal in the database. Empty means setting "
            "erasure_journal. Without a file, entries that the restored backup has lost are not replayed."
        ),
    )
