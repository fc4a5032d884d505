"""What an erasure certifies: read from the journal in the database, where each number was committed with its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.privacy.erasure.plan import OBJECTS
from cp_ops.privacy.personal_data import Erasure

if TYPE_CHECKING:
    from cp_ops.privacy.erasure.search import Searched
    from cp_ops.privacy.personal_data import PersonalDataMap
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun


def erased_so_far(tx: Transaction, erasure_id: int) -> dict[str, Any]:
    """Give what was erased under an entry of the journal, by all runs that took part: counts and plans, no values.

    Rows are counted exactly; of the versions of stored files those of one document may be missing for each kill.
    """
    entry = tx.one("erased_so_far", erasure_id=erasure_id)
    assert entry is not None
    tables = dict(sorted(entry["counts"].items()))
    objects = tables.pop(OBJECTS, 0)
    return {
        "plan": f"sha256:{entry['plan_sha256']}",
        "earlier_plans": [f"sha256:{plan}" for plan in entry["earlier_plans"]],
        "tables": tables,
        "rows_erased": sum(tables.values()),
        "objects_deleted": objects,
    }


def certificate(
    run: JobRun, tx: Transaction, erasure_id: int, mapped: PersonalDataMap, searched: Searched
) -> dict[str, Any]:
    """Give what the request and the journal keep of the execution: the approved plan, all counts, what was kept."""
    # The approved rows, not the selected ones: a resumed run no longer reaches what an earlier one has erased.
    approved = [row["table_name"] for row in tx.rows("approved_tables", erasure_id=erasure_id)]
    return erased_so_far(tx, erasure_id) | {
        "run": run.run_id,
        "executed_at": run.now.isoformat(),
        "kept": sorted(
            f"{table}.{name}"
            for table in approved
            for name, column in mapped.tables[table].columns.items()
            if column.erasure is Erasure.KEEP
        ),
        "search": {"tables": searched.tables, "columns": searched.columns, "found": len(searched.remains)},
    }
