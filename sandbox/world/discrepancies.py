"""What the demo world has wrong on purpose: what each job must find there, and nothing else.

The seed notes each thing where it plants it and prints the whole as JSON, so that the demo and the tests can
hold a job's outcome against it. Kinds are the words of the commands' own outcomes and findings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.world.rows import Record


@dataclass(frozen=True)
class Discrepancy:
    """One thing that a job has to find: the row it is about, or, for an object without a row, its key."""

    job: str
    kind: str
    firm_id: int
    table: str
    id: int | str
    note: str


@dataclass
class Manifest:
    """All that the seed planted; `counts` holds what is too much to list, per job."""

    seed: int
    scale: int
    now: str
    firms: dict[int, str] = field(default_factory=dict)
    discrepancies: list[Discrepancy] = field(default_factory=list)
    counts: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)

    def plant(self, job: str, kind: str, record: Record, note: str) -> None:
        """Note that `job` has to find `kind` at this row."""
        self.discrepancies.append(Discrepancy(job, kind, record.scope.firm_id, record.table, record.id, note))

    def count(self, job: str, subject: str, kind: str, number: int = 1) -> None:
        """Note that `job` has to find `number` more of `kind` at `subject`."""
        kinds = self.counts.setdefault(job, {}).setdefault(subject, {})
        kinds[kind] = kinds.get(kind, 0) + number

    def of(self, job: str, kind: str | None = None) -> list[Discrepancy]:
        """Return what a job has to find, of one kind or of all."""
        return [item for item in self.discrepancies if item.job == job and kind in (None, item.kind)]

    def as_json(self) -> dict[str, Any]:
        """Return the manifest as the seed prints it."""
        return asdict(self)
