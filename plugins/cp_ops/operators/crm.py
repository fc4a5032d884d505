"""Operators of sales."""

from __future__ import annotations

from cp_ops.crm.stale_deals.options import CheckStaleDealsOptions
from cp_ops.operators.base import JobOperator


class CheckStaleDealsOperator(JobOperator):
    """Mark deals without activity as stale, and alert their owners and teams."""

    job = "cp_ops.crm.stale_deals.job:CheckStaleDeals"
    command = "check_stale_deals"
    options = CheckStaleDealsOptions
