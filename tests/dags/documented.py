"""What the documents say of each command: its options, in the form's order, and its schedule.

Written down from the two documents and their elaboration, independently of the options models.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Documented:
    """A command's documented options and schedule; None is manual.

    :param every_run_writes: tables that a run writes although nothing is due, besides its own record.
    """

    options: tuple[str, ...]
    schedule: str | None
    every_run_writes: frozenset[str] = frozenset()


COMMANDS = {
    "cleanup_webhook_events": Documented(("days", "provider", "dry_run"), "0 4 * * *"),
    "reconcile_s3": Documented(("firm_id", "deep", "dry_run"), "0 3 * * *"),
    "check_stale_deals": Documented(("firm_id", "days", "dry_run"), "0 10 * * *"),
    "reconcile_stripe": Documented(("firm_id", "full", "dry_run"), "0 2 * * *"),
    "process_recurring_charges": Documented(
        ("firm_id", "max_charges", "max_total", "expected_plan", "dry_run"), "0 * * * *"
    ),
    "generate_package_invoices": Documented(("firm_id", "reference_date", "backfill", "dry_run"), None),
    "refresh_materialized_views": Documented(
        ("view", "concurrently", "dry_run"),
        "0 5 * * *",
        frozenset(
            {
                "public.finance_mv_refresh_log",
                "public.mv_revenue_by_project_month",
                "public.mv_utilization_by_user_week",
                "public.mv_utilization_by_project_month",
            }
        ),
    ),
}
SYSTEM = {
    "cp_ops_migrate": Documented((), None),
    "cp_ops_housekeeping": Documented(("dry_run",), "30 5 * * *"),
    "cp_ops_deliver_mail": Documented(("max_mails", "dry_run"), "*/5 * * * *"),
}
