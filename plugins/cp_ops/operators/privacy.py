"""Operators of privacy and retention."""

from __future__ import annotations

from cp_ops.operators.base import JobOperator
from cp_ops.privacy.webhook_cleanup import CleanupWebhookEvents


class CleanupWebhookEventsOperator(JobOperator):
    """Delete processed webhook events that are older than the retention."""

    job_class = CleanupWebhookEvents
