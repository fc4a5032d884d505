"""What the documents say of each command: its options, in the form's order, and its schedule.

Written down from the two documents and their elaboration, independently of the options models.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Documented:
    """A command's documented options and schedule; None is manual."""

    options: tuple[str, ...]
    schedule: str | None


COMMANDS = {
    "cleanup_webhook_events": Documented(("days", "provider", "dry_run"), "0 4 * * *"),
    "reconcile_s3": Documented(("firm_id", "deep", "dry_run"), "0 3 * * *"),
    "check_stale_deals": Documented(("firm_id", "days", "dry_run"), "0 10 * * *"),
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
    "cp_ops_deliver_mail": Documented(("max_mails", "dry_run"), "*/5 * * * *"),
    "solana_payments_maintenance": Documented(
        ("sleep", "limit", "scan_closed_days", "dry_run"), "*/15 * * * *"
    ),
    "cp_ops_announce_solana_payments": Documented(("max_events", "dry_run"), "*/5 * * * *"),
}
