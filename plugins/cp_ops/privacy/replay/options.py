"""Options of replay_erasures."""

from __future__ import annotations

from pydantic import Field

from cp_ops.runtime.options import JobOptions


class ReplayErasuresOptions(JobOptions):
    """Options of replay_erasures."""

    journal: str | None = Field(
        default=None,
        title="Journal",
        description="Path of the journal outside the database. Empty: setting erasure_journal, else the journal that "
        "is in the database itself, which a restored backup may have lost entries of",
    )
