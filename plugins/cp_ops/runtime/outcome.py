"""The one record that every run ends in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cp_ops.runtime.errors import RowsFailedError, TransientRowsFailedError, Verdict, translate

NAMED_FAILURES = 50
"""How many failed rows an outcome names; all are counted."""
ALREADY_RUNNING = "already running"
"""The reason of a run that was skipped as another one of its command holds the lease."""


class RunState(StrEnum):
    """How a run ended, or that it has not."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed: its key, why (no values), whether trying again may help, and how many rows it covers."""

    target: str
    reason: str
    retryable: bool
    rows: int = 1


@dataclass
class FindingCounts:
    """What a run did to the findings it is responsible for."""

    opened: int = 0
    seen_again: int = 0
    resolved: int = 0

    def add(self, other: FindingCounts) -> None:
        """Count what another transaction did, too."""
        self.opened += other.opened
        self.seen_again += other.seen_again
        self.resolved += other.resolved


@dataclass
class Outcome:
    """Counts and reasons of one run; filled by `JobRun`, not by each job.

    `planned`, `done`, `skipped` and `failed` count rows; `done` is 0 in a dry run.
    """

    command: str
    dry_run: bool
    planned: int = 0
    done: int = 0
    failed: int = 0
    skip_reasons: Counter[str] = field(default_factory=Counter)
    done_kinds: Counter[str] = field(default_factory=Counter)
    planned_kinds: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    findings: FindingCounts = field(default_factory=FindingCounts)
    numbers: dict[str, int | str] = field(default_factory=dict)
    remote_calls: int = 0
    statements: int = 0
    elapsed: float = 0.0
    plan_sha256: str = ""
    error: str = ""

    @property
    def skipped(self) -> int:
        """Rows passed over, for whatever reason."""
        return sum(self.skip_reasons.values())

    def skip(self, reason: str, rows: int = 1) -> None:
        """Count rows that were passed over."""
        self.skip_reasons[reason] += rows

    def fail(self, target: str, error: BaseException, rows: int = 1) -> Failure:
        """Count a row that failed, and name it (the first `NAMED_FAILURES`)."""
        meaning = translate(error)
        failure = Failure(target, str(meaning), meaning.verdict is Verdict.RETRY, rows)
        self.failed += rows
        if len(self.failures) < NAMED_FAILURES:
            self.failures.append(failure)
        return failure

    def raise_for_failures(self) -> None:
        """Fail the task when rows failed, naming them.

        :raises TransientRowsFailedError: when every named failure may pass by itself.
        :raises RowsFailedError: otherwise.
        """
        if not self.failed:
            return
        first = self.failures[:10]
        named = "; ".join(f"{failure.target}: {failure.reason}" for failure in first)
        unnamed = self.failed - sum(failure.rows for failure in first)
        more = f" ... and {unnamed} more" if unnamed else ""
        # One failure that does not pass makes a retry pointless. Failures beyond those that are named are taken to be alike.
        transient = all(failure.retryable for failure in self.failures)
        kind = TransientRowsFailedError if transient else RowsFailedError
        raise kind(f"{self.failed} rows failed, {self.done} done: {named}{more}")

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form: the task's XCom and what `cp_ops.job_run` keeps."""
        return {
            "command": self.command,
            "dry_run": self.dry_run,
            "planned": self.planned,
            "done": self.done,
            "skipped": self.skipped,
            "failed": self.failed,
            "planned_kinds": dict(self.planned_kinds),
            "done_kinds": dict(self.done_kinds),
            "reasons": dict(self.skip_reasons),
            "failures": [{"target": f.target, "reason": f.reason} for f in self.failures],
            "findings": vars(self.findings).copy(),
            "numbers": dict(self.numbers),
            "remote_calls": self.remote_calls,
            "statements": self.statements,
            "elapsed": round(self.elapsed, 3),
            "plan": f"sha256:{self.plan_sha256}" if self.plan_sha256 else "",
            "error": self.error,
        }

    def line(self) -> str:
        """Give the last log line of a run."""
        return (
            f"outcome command={self.command} dry_run={str(self.dry_run).lower()} planned={self.planned} "
            f"done={self.done} skipped={self.skipped} failed={self.failed} remote_calls={self.remote_calls} "
            f"statements={self.statements} elapsed={self.elapsed:.2f}s "
            f"plan={'sha256:' + self.plan_sha256 if self.plan_sha256 else '-'}"
        )
