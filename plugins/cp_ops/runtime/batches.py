"""Batches: a plan is cut into transactions, and the one item that the database refuses is found among the others.

A batch is one transaction. One item that the database refuses takes its whole batch down with it, and the database does
not say which one it was. So the refused batch is halved until the items at fault stand alone: everything else is applied,
and n items with one bad one cost about 2 log2(n) further transactions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby, islice
from typing import TYPE_CHECKING, TypeVar

from cp_ops.runtime.errors import StatementFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cp_ops.runtime.database import Tenant, Tenants
    from cp_ops.runtime.plan import Action

Item = TypeVar("Item")
Position = tuple[datetime, int]
"""A row's age and key: where a batch in the order of age ended, and the next one begins."""
START: Position = (datetime.min.replace(tzinfo=UTC), 0)
"""Before the first row of every table."""


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut items, in order, into lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def by_tenant(actions: Iterable[Action], tenants: Tenants) -> Iterator[tuple[Tenant, Iterator[Action]]]:
    """Group a plan's actions, which follow their tenants' order, by the tenant whose transaction applies them.

    :param actions: each of a firm that the tenants cover.
    """

    def tenant_of(action: Action) -> Tenant:
        assert action.firm_id is not None, f"{action.kind} {action.target} belongs to no firm"
        return tenants.of(action.firm_id)

    return groupby(actions, key=tenant_of)


def apply_or_halve(
    batch: Sequence[Item],
    apply: Callable[[Sequence[Item]], None],
    refused: Callable[[Item, StatementFailedError], None],
) -> None:
    """Apply a batch in one transaction; where the database refuses it, halve it until the refused item is alone.

    Only a refused statement is halved. Every other error ends the run, unless `apply` deals with it: a conflict with
    another session may pass by itself, and a lost lease must end every writing.

    :param apply: applies a batch in a transaction, and counts what was done once that has committed.
    :param refused: counts the one item that is refused by itself.
    """
    try:
        apply(batch)
    except StatementFailedError as error:
        if len(batch) == 1:
            refused(batch[0], error)
            return
        # The failed transaction left nothing behind, so both halves can be applied as if for the first time.
        middle = len(batch) // 2
        apply_or_halve(batch[:middle], apply, refused)
        apply_or_halve(batch[middle:], apply, refused)
