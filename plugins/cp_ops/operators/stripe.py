"""Operators of the jobs that talk to Stripe. They run in Airflow's pool `stripe` (include/pools.json): one at a time,
so that together they stay within Stripe's limit on calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.finance.stripe_reconciliation import ReconcileStripe
from cp_ops.operators.base import JobOperator

if TYPE_CHECKING:
    from cp_ops.hooks.stripe_client import StripeApi
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
