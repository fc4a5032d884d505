"""Reading guarded tables inside one snapshot, where row-level security shows a transaction one firm at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.runtime.firms import all_firm_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun


class FirmByFirm:
    """Asks guarded tables as each firm in turn; once where row-level security hides nothing from the role.

    `JobRun.tenants` gives each firm a transaction of its own. An export is of one moment: it has one transaction, which
    becomes each firm.
    """

    def __init__(self, run: JobRun, tx: Transaction) -> None:
        self._tx = tx
        self._firm_ids = all_firm_ids(tx) if run.session.guarded else None

    def visits(self, *, guarded: bool) -> Iterator[None]:
        """Come by once for each firm as which to ask.

        :param guarded: the statement looks at rows that row-level security hides.
        """
        if not guarded or self._firm_ids is None:
            yield
            return
        for firm_id in self._firm_ids:
            self._tx.as_firm(firm_id)
            yield

    def rows(self, statement: str, **params: Any) -> list[dict[str, Any]]:
        """Give the rows that a query on guarded tables finds, as whichever firm."""
        return [row for _ in self.visits(guarded=True) for row in self._tx.rows(statement, **params)]
