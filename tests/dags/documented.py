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
}
SYSTEM = {
    "cp_ops_migrate": Documented((), None),
    "cp_ops_housekeeping": Documented(("dry_run",), "30 5 * * *"),
    "cp_ops_deliver_mail": Documented(("max_mails", "dry_run"), "*/5 * * * *"),
}
