"""Operators of the jobs that talk to Stripe.

They run in Airflow's pool `stripe` (include/pools.json): one at a time, so that together they stay within Stripe's
limit on calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from cp_ops.finance.charges.job import ProcessRecurringCharges
from cp_ops.finance.charges.options import ProcessRecurringChargesOptions
from cp_ops.finance.reconciliation.job import ReconcileStripe
from cp_ops.operators.base import JobOperator
from cp_ops.operators.finance import INVOICES_CHANGED, GeneratePackageInvoicesOperator, announce
from cp_ops.runtime.errors import OptionsError, RowsFailedError, TransientRowsFailedError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from cp_ops.hooks.stripe_client import StripeApi
    from cp_ops.runtime.options import JobOptions
    from cp_ops.runtime.settings import Settings

POOL = "stripe"


class StripeOperator(JobOperator):
    """Base of the operators that talk to Stripe.

    :param stripe_conn_id: connection to Stripe.
    """

    def __init__(self, *, stripe_conn_id: str = "stripe_default", pool: str = POOL, **kwargs: Any) -> None:
        super().__init__(pool=pool, **kwargs)
        self.stripe_conn_id = stripe_conn_id

    def _stripe(self) -> StripeApi:
        from cp_ops.hooks.stripe_api import StripeApiHook

        return StripeApiHook(self.stripe_conn_id).get_conn()


class ReconcileStripeOperator(StripeOperator):
    """Compare invoices with Stripe and report the differences."""

    job_class = ReconcileStripe

    def job(self, settings: Settings) -> ReconcileStripe:  # noqa: ARG002 - the base's signature
        """Build the job with Stripe's API."""
        return ReconcileStripe(self._stripe())


class IssueDueInvoicesOperator(GeneratePackageInvoicesOperator):
    """Issue the package invoices of the current billing cycle, ahead of collecting.

    Rows that failed are in the outcome and do not keep the others from being collected: the collecting task fails for
    them, too, at its end.
    """

    def _options(self, context: Context) -> JobOptions:
        given = _charge_options(context)
        return self.job_class.options.parse({"firm_id": given.firm_id, "dry_run": given.dry_run})

    def execute(self, context: Context) -> dict[str, Any]:
        """Issue what is due, and announce it, be it that other rows failed."""
        try:
            return super().execute(context)
        except TransientRowsFailedError:
            raise
        except RowsFailedError as error:
            self.log.warning("%s", error)
            outcome = dict(context["ti"].xcom_pull(task_ids=self.task_id, key="outcome") or {})
            announce(context, outcome)
            return outcome


class CollectDueInvoicesOperator(StripeOperator):
    """Charge the balance of due invoices to the stored payment methods.

    :param issued_by: the task that issued the invoices before; its failed rows fail this task at the end.
    """

    job_class = ProcessRecurringCharges

    def __init__(self, *, issued_by: str, **kwargs: Any) -> None:
        super().__init__(outlets=[INVOICES_CHANGED], **kwargs)
        self.issued_by = issued_by

    def job(self, settings: Settings) -> ProcessRecurringCharges:  # noqa: ARG002 - the base's signature
        """Build the job with Stripe's API."""
        return ProcessRecurringCharges(self._stripe())

    def execute(self, context: Context) -> dict[str, Any]:
        """Collect; then fail if invoices could not be issued."""
        outcome = super().execute(context)
        announce(context, outcome)
        issued = context["ti"].xcom_pull(task_ids=self.issued_by, key="outcome") or {}
        if issued.get("failed"):
            names = ", ".join(failure["target"] for failure in issued["failures"][:10])
            raise AirflowFailException(
                f"collected, but {issued['failed']} invoices could not be issued: {names}"
            )
        return outcome


def _charge_options(context: Context) -> ProcessRecurringChargesOptions:
    try:
        return ProcessRecurringChargesOptions.parse(context["params"])
    except OptionsError as error:
        raise AirflowFailException(f"{ProcessRecurringCharges.command}: {error}") from None
