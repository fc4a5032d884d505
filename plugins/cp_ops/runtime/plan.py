"""A plan: what is due, each action with its reason, and one hash over the list."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import groupby, islice
from typing import TYPE_CHECKING, TypeVar

from cp_ops.runtime.errors import CapExceededError, PlanChangedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Scalar = str | int | bool | None
"""What an action's data may hold: JSON scalars only, so that the hash is stable. Dates as ISO text, money as minor units."""
Data = TypeVar("Data", bound="Payload")


class Payload(Mapping[str, Scalar]):
    """What applying one kind of action needs: a base for frozen dataclasses, read as a mapping where its type is unknown.

    The plan's hash covers every field. A field that must stay out of it is declared with
    ``field(metadata=UNHASHED)``; a payload whose hashed form differs from its fields overrides `hashed`. Declare it
    ``@dataclass(frozen=True, slots=True, eq=False)``, so that payloads compare as mappings.
    """

    __slots__ = ()

    def hashed(self) -> dict[str, Scalar]:
        """Give what the plan's hash covers, as JSON scalars."""
        return {
            column.name: getattr(self, column.name)
            for column in fields(self)  # type: ignore[arg-type] # every payload is a dataclass
            if not column.metadata.get("unhashed")
        }

    def __getitem__(self, name: str) -> Scalar:
        return self.hashed()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.hashed())

    def __len__(self) -> int:
        return len(self.hashed())


UNHASHED = {"unhashed": True}
"""Metadata of a payload's field that the plan's hash does not cover."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do.

    :param kind: what is done, such as ``mark_stale``.
    :param target: what it is done to, ``table:id`` or another stable key; never personal data.
    :param reason: why, in words for the operator; not part of the hash.
    :param firm_id: the tenant, or None for what belongs to no firm.
    :param rows: how many rows the action covers; more than one for a set-based action.
    :param data: what applying it needs, best as a `Payload`; part of the hash.
    """

    kind: str
    target: str
    reason: str
    firm_id: int | None = None
    rows: int = 1
    data: Mapping[str, Scalar] = field(default_factory=dict)

    def payload(self, kind: type[Data]) -> Data:
        """Give what applying the action needs, as the type that its planner gave it.

        :raises TypeError: when the action carries something else.
        """
        if not isinstance(self.data, kind):
            raise TypeError(
                f"{self.kind} {self.target} carries {type(self.data).__name__}, not {kind.__name__}"
            )
        return self.data

    def canonical(self) -> str:
        """Give the action's line for the plan's hash."""
        data = self.data.hashed() if isinstance(self.data, Payload) else dict(self.data)
        return json.dumps([self.kind, self.target, self.firm_id, self.rows, data], sort_keys=True)


@dataclass(frozen=True, slots=True)
class Skip:
    """Something that was looked at and passed over, and why."""

    target: str
    reason: str
    firm_id: int | None = None
    rows: int = 1


@dataclass(frozen=True)
class Plan:
    """What a pure planner returns: actions in the order in which they are applied, and what was passed over."""

    actions: tuple[Action, ...] = ()
    skips: tuple[Skip, ...] = ()

    @classmethod
    def of(cls, items: Iterable[Action | Skip]) -> Plan:
        """Collect what a planner yields."""
        actions: list[Action] = []
        skips: list[Skip] = []
        for item in items:
            if isinstance(item, Action):
                actions.append(item)
            else:
                skips.append(item)
        return cls(tuple(actions), tuple(skips))

    @property
    def rows(self) -> int:
        """Rows that the actions cover."""
        return sum(action.rows for action in self.actions)

    @property
    def sha256(self) -> str:
        """Hash over the actions, whatever their order: the same data gives the same hash."""
        digest = hashlib.sha256()
        for line in sorted(action.canonical() for action in self.actions):
            digest.update(line.encode())
            digest.update(b"\n")
        return digest.hexdigest()

    def require(self, expected: str | None) -> None:
        """Refuse to go on when the plan is not the one that was approved.

        :raises PlanChangedError: when `expected` is given and differs from this plan's hash.
        """
        if expected and expected.removeprefix("sha256:") != self.sha256:
            raise PlanChangedError(
                f"plan is now sha256:{self.sha256}, approved was {expected}: the data changed, look at a new preview"
            )

    def cap(
        self,
        setting: str,
        limit: int,
        *,
        kind: str | None = None,
        advice: str = "",
        stopped: str = "nothing was done",
    ) -> None:
        """Refuse a plan that covers more rows than the cap allows.

        :param setting: the name of the setting or option that raises the cap.
        :param kind: count only actions of this kind.
        :param stopped: what was stopped, for the message.
        :raises CapExceededError: before anything was done.
        """
        rows = sum(action.rows for action in self.actions if kind in (None, action.kind))
        if rows > limit:
            raise CapExceededError(
                f"the plan covers {rows} rows, more than {setting}={limit} allows; {stopped}. "
                f"{advice or 'Look at a dry run'}; if it is right, raise {setting} to at least {rows}"
            )

    def of_kind(self, kind: str) -> list[Action]:
        """List the actions of one kind, in order."""
        return [action for action in self.actions if action.kind == kind]

    def batches(self, size: int) -> Iterator[tuple[str, int | None, list[Action]]]:
        """Cut the actions, in order, into runs of at most `size` of one kind and firm."""
        for (kind, firm_id), group in groupby(self.actions, key=lambda action: (action.kind, action.firm_id)):
            members = iter(group)
            while batch := list(islice(members, size)):
                yield kind, firm_id, batch

    def table(self, limit: int = 20) -> str:
        """Lay the plan out for a log or an approval: counts per kind and firm, then the first actions with reasons."""
        if not self.actions:
            return "nothing to do"
        counts: Counter[tuple[str, int | None]] = Counter()
        for action in self.actions:
            counts[action.kind, action.firm_id] += action.rows
        lines = [f"{'action':<28} {'firm':>8} {'rows':>10}"]
        lines += [
            f"{kind:<28} {firm if firm is not None else '-':>8} {rows:>10}"
            for (kind, firm), rows in sorted(counts.items(), key=lambda item: (item[0][0], item[0][1] or 0))
        ]
        lines += [f"  {action.kind} {action.target}: {action.reason}" for action in self.actions[:limit]]
        if len(self.actions) > limit:
            lines.append(f"  ... and {len(self.actions) - limit} more actions")
        return "\n".join(lines)
