"""Operators of finance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from cp_ops.finance.packages.job import GeneratePackageInvoices
from cp_ops.finance.views.job import RefreshMaterializedViews, TriggeredBy
from cp_ops.operators.base import JobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from cp_ops.runtime.settings import Settings

INVOICES = Asset("cp_ops_finance_invoices")
"""Invoices and payments: what the reporting views read. Updated by tasks that changed some and succeeded, only."""
INVOICES_CHANGED = AssetAlias("cp_ops_finance_invoices_changed")
"""How a task says so: an outlet of its own would be updated by every successful run, also by one with nothing to do.

Airflow takes events of tasks that succeed; a task that wrote rows and fails for others announces nothing, so the views
show its rows after the next announcement or their daily refresh.
"""

_TRIGGERED_BY: dict[str, TriggeredBy] = {"manual": "manual", "asset_triggered": "event"}
"""Airflow's run types in the words of the application's log; every other is scheduled."""


def triggered_by(run_type: str) -> TriggeredBy:
    """Say in the words of the application's log what started a run.

    :param run_type: Airflow's DagRunType, an enum whose members are strings, or its value.
    """
    return _TRIGGERED_BY.get(str(getattr(run_type, "value", run_type)), "scheduled")


def announce(context: Context, outcome: dict[str, Any]) -> None:
    """Let Airflow know, when the task succeeds, that a run changed invoices or payments; if it did."""
    if outcome.get("done"):
        context["outlet_events"][INVOICES_CHANGED].add(INVOICES, extra={"done": outcome["done"]})


class InvoiceOperator(JobOperator):
    """An operator whose job writes invoices or payments: the views are refreshed after it changed some and succeeded."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(outlets=[INVOICES_CHANGED], **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the job, and announce that it changed something."""
        outcome = super().execute(context)
        announce(context, outcome)
        return outcome


class GeneratePackageInvoicesOperator(InvoiceOperator):
    """Issue the invoices of package fees that are due."""

    job_class = GeneratePackageInvoices


class RefreshMaterializedViewsOperator(JobOperator):
    """Refresh the reporting views."""

    job_class = RefreshMaterializedViews
    _triggered_by: TriggeredBy = "manual"

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the job, saying in the application's log who started it."""
        self._triggered_by = triggered_by(context["dag_run"].run_type)
        return super().execute(context)

    def job(self, settings: Settings) -> RefreshMaterializedViews:  # noqa: ARG002 - the base's signature
        """Build the job."""
        return RefreshMaterializedViews(self._triggered_by)
