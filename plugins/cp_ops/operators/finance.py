"""Operators of finance.

Those that talk to Stripe run in Airflow's pool `stripe` (include/pools.json): one at a time, so that together they stay
within Stripe's limit on calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowFailException
from typing_extensions import override

from cp_ops.finance.charges.options import ProcessRecurringChargesOptions
from cp_ops.finance.packages.options import GeneratePackageInvoicesOptions
from cp_ops.finance.reconciliation.options import ReconcileStripeOptions
from cp_ops.finance.views.options import RefreshMaterializedViewsOptions
from cp_ops.operators.base import JobOperator
from cp_ops.operators.outcomes import TaskOutcome
from cp_ops.runtime.errors import OptionsError, RowsFailedError, TransientRowsFailedError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from cp_ops.finance.charges.job import ProcessRecurringCharges
    from cp_ops.finance.reconciliation.job import ReconcileStripe
    from cp_ops.finance.views.job import RefreshMaterializedViews, TriggeredBy
    from cp_ops.hooks.stripe_client import StripeApi
    from cp_ops.runtime.options import JobOptions
    from cp_ops.runtime.outcome import Outcome
    from cp_ops.runtime.settings import Settings

POOL = "stripe"
NAMED_FAILURES = 10
"""How many invoices that could not be issued the collecting task names."""
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


def announce(context: Context, rows: int) -> None:
    """Let Airflow know, when the task succeeds, that a run changed invoices or payments.

    :param rows: how many it changed; nothing is announced when it changed none.
    """
    if rows:
        context["outlet_events"][INVOICES_CHANGED].add(INVOICES, extra={"done": rows})


class GeneratePackageInvoicesOperator(JobOperator):
    """Issue the invoices of package fees that are due; the reporting views are refreshed after it issued some."""

    job = "cp_ops.finance.packages.job:GeneratePackageInvoices"
    command = "generate_package_invoices"
    options = GeneratePackageInvoicesOptions

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(outlets=[INVOICES_CHANGED], **kwargs)

    @override
    def conclude(self, context: Context, job: Any, outcome: Outcome) -> None:
        announce(context, outcome.done)


class IssueDueInvoicesOperator(GeneratePackageInvoicesOperator):
    """Issue the package invoices of the current billing cycle, ahead of collecting.

    Rows that failed are in the outcome and do not keep the others from being collected: the collecting task fails for
    them, too, at its end.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Issue what is due, and announce it, be it that other rows failed."""
        try:
            return super().execute(context)
        except TransientRowsFailedError:
            # A retry may issue them after all, before anything is collected.
            raise
        except RowsFailedError as error:
            outcome = TaskOutcome.of_task(context, self.task_id)
            if outcome is None:
                raise
            self.log.warning("%s", error)
            announce(context, outcome.done)
            return dict(outcome.recorded)

    @override
    def parse_options(self, context: Context) -> JobOptions:
        try:
            given = ProcessRecurringChargesOptions.parse(context["params"])
        except OptionsError as error:
            raise AirflowFailException(f"{CollectDueInvoicesOperator.command}: {error}") from None
        return self.options.parse({"firm_id": given.firm_id, "dry_run": given.dry_run})


class StripeOperator(JobOperator):
    """Base of the operators that talk to Stripe.

    :param stripe_conn_id: connection to Stripe.
    """

    def __init__(self, *, stripe_conn_id: str = "stripe_default", pool: str = POOL, **kwargs: Any) -> None:
        super().__init__(pool=pool, **kwargs)
        self.stripe_conn_id = stripe_conn_id

    def stripe(self) -> StripeApi:
        """Make the client; a wrong connection ends the task before the first call."""
        from cp_ops.hooks.stripe_api import StripeApiHook

        return StripeApiHook(self.stripe_conn_id).get_conn()


class ReconcileStripeOperator(StripeOperator):
    """Compare invoices with Stripe and report the differences."""

    job = "cp_ops.finance.reconciliation.job:ReconcileStripe"
    command = "reconcile_stripe"
    options = ReconcileStripeOptions

    @override
    def build(self, job: type[ReconcileStripe], context: Context, settings: Settings) -> ReconcileStripe:
        return job(self.stripe())


class CollectDueInvoicesOperator(StripeOperator):
    """Charge the balance of due invoices to the stored payment methods.

    :param issued_by: the task that issued the invoices before; its failed rows fail this task at the end.
    """

    job = "cp_ops.finance.charges.job:ProcessRecurringCharges"
    command = "process_recurring_charges"
    options = ProcessRecurringChargesOptions

    def __init__(self, *, issued_by: str, **kwargs: Any) -> None:
        super().__init__(outlets=[INVOICES_CHANGED], **kwargs)
        self.issued_by = issued_by

    @override
    def build(
        self, job: type[ProcessRecurringCharges], context: Context, settings: Settings
    ) -> ProcessRecurringCharges:
        return job(self.stripe())

    @override
    def conclude(self, context: Context, job: Any, outcome: Outcome) -> None:
        """Announce what was collected; then fail if invoices could not be issued.

        :raises AirflowFailException: naming the first invoices that the issuing task could not issue.
        """
        announce(context, outcome.done)
        issued = TaskOutcome.of_task(context, self.issued_by)
        if issued is not None and issued.failed:
            names = ", ".join(issued.failures[:NAMED_FAILURES])
            raise AirflowFailException(
                f"collected, but {issued.failed} invoices could not be issued: {names}"
            )


class RefreshMaterializedViewsOperator(JobOperator):
    """Refresh the reporting views."""

    job = "cp_ops.finance.views.job:RefreshMaterializedViews"
    command = "refresh_materialized_views"
    options = RefreshMaterializedViewsOptions

    @override
    def build(
        self, job: type[RefreshMaterializedViews], context: Context, settings: Settings
    ) -> RefreshMaterializedViews:
        return job(triggered_by(context["dag_run"].run_type))
