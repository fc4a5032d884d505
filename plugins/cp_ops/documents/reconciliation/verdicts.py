"""Writing verdicts on versions into the run's temporary table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cp_ops.documents.reconciliation.plan import JudgedVersion
    from cp_ops.runtime.job import JobRun


def record_verdicts(run: JobRun, judged: Sequence[JudgedVersion]) -> None:
    """Record verdicts, all in one statement; a version keeps the reason that it has where the verdict gives none."""
    if not judged:
        return
    with run.read() as tx:
        tx.execute(
            "judge_versions",
            version_ids=[version.version_id for version in judged],
            verdicts=[version.verdict.value for version in judged],
            reasons=[version.reason for version in judged],
            delete_markers=[version.delete_marker for version in judged],
            recoverables=[version.recoverable for version in judged],
        )
