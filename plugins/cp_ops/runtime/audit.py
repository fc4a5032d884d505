"""Audit events in the application's own table, `firm_audit_events`.

A run leaves one event per firm in which it changed or found something; a run that changed nothing leaves one a day,
so that its evidence is there but a second run right after the first writes nothing. A new finding leaves one event.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cp_ops.runtime.database import Transaction

QUIET_HOURS = 20
"""An uneventful run writes no event when the last one of the same firm and command is younger than this."""


class Category(StrEnum):
    """The application's audit categories."""

    AUTH = "AUTH"
    PERMISSIONS = "PERMISSIONS"
    BREAK_GLASS = "BREAK_GLASS"
    BILLING_METADATA = "BILLING_METADATA"
    PURGE = "PURGE"
    CONFIG = "CONFIG"
    DATA_ACCESS = "DATA_ACCESS"
    SYSTEM = "SYSTEM"


def record_run(
    tx: Transaction,
    *,
    command: str,
    category: Category,
    now: datetime,
    run_id: int,
    counts: Mapping[int, Mapping[str, int]],
) -> int:
    """Write the run's event for each firm in `counts`; gives how many were written.

    :param counts: per firm what was done and found, such as ``{7: {"deleted": 12}}``; empty counts mean an uneventful
        run. Counts only: no personal data, no keys of objects.
    """
    firm_ids = sorted(counts)
    metadata: list[Any] = [
        Jsonb({"run": run_id, **{k: v for k, v in counts[f].items() if v}}) for f in firm_ids
    ]
    return tx.execute(
        "runtime/insert_run_audit_events",
        firm_ids=firm_ids,
        metadata=metadata,
        eventful=[any(counts[f].values()) for f in firm_ids],
        action=f"{command}.run",
        category=category.value,
        request_id=f"cp_ops-run-{run_id}",
        now=now,
        quiet_hours=QUIET_HOURS,
    )
