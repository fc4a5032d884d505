"""What the documents say of each command: its options, in the form's order, and its schedule.

Written down from the two documents and their elaboration, independently of the options models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Documented:
    """A command's documented options and schedule; None is manual.

    :ivar required: a valid value of each option that has no default.
    :ivar creates: a run with the required options has something to do in an empty database, too.
    :ivar about: a run needs a row that exists; the command has tests of its own for what others are tested for together.
    :ivar active_runs: how many runs may be under way at once, where each is about a subject of its own.
    :ivar every_run_writes: tables that a run writes although nothing is due, besides its own record: the application's
        own log of runs.
    """

    options: tuple[str, ...]
    schedule: str | None
    required: dict[str, Any] = field(default_factory=dict)
    creates: bool = False
    about: bool = False
    active_runs: int = 1
    every_run_writes: frozenset[str] = frozenset()


COMMANDS = {
    "cleanup_webhook_events": Documented(("days", "provider", "dry_run"), "0 4 * * *"),
    "execute_retention_policies": Documented(
        ("firm_id", "data_type", "max_minutes", "dry_run"),
        "0 1 * * 0",
        every_run_writes=frozenset({"public.core_retention_executions"}),
    ),
    "export_user_data": Documented(
        ("user_id", "output_dir", "format", "dry_run"),
        None,
        required={"user_id": 1, "output_dir": "s3://exports/"},
        about=True,
    ),
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
        every_run_writes=frozenset(
            {
                "public.finance_mv_refresh_log",
                "public.mv_revenue_by_project_month",
                "public.mv_utilization_by_user_week",
                "public.mv_utilization_by_project_month",
            }
        ),
    ),
    "execute_erasure_request": Documented(
        ("request_id", "confirm", "dry_run"), None, required={"request_id": 1}, about=True, active_runs=16
    ),
    "provision_firm": Documented(
        (
            *("name", "slug", "admin_email", "admin_password_ref", "invite", "timezone", "currency", "tier"),
            *("admin_first_name", "admin_last_name", "max_users", "max_clients", "max_storage_gb"),
            *("adopt_existing_user", "dry_run"),
        ),
        None,
        required={"name": "Alder Advisers", "slug": "alder-advisers", "admin_email": "admin@alder.example"},
        creates=True,
    ),
    "close_expired_solana_payments_with_wallets": Documented(("sleep", "limit", "dry_run"), None),
    "send_solana_payments_from_one_time_wallets": Documented(("sleep", "limit", "dry_run"), None),
    "close_expired_one_time_wallets_and_reclaim_funds": Documented(
        ("sleep", "limit", "scan_closed_days", "dry_run"), None
    ),
    "recheck_initiated_solana_payments": Documented(("sleep", "limit", "dry_run"), "0 * * * *"),
}
SYSTEM = {
    "cp_ops_migrate": Documented((), None),
    "cp_ops_housekeeping": Documented(("dry_run",), "30 5 * * *"),
    "replay_erasures": Documented(("journal", "dry_run"), None),
    "cp_ops_deliver_mail": Documented(("max_mails", "redeliver", "dry_run"), "*/5 * * * *"),
    "solana_payments_maintenance": Documented(
        ("sleep", "limit", "scan_closed_days", "dry_run"), "*/15 * * * *"
    ),
    "cp_ops_announce_solana_payments": Documented(("max_events", "redeliver", "dry_run"), "*/5 * * * *"),
}
