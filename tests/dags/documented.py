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
    """

    options: tuple[str, ...]
    schedule: str | None
    required: dict[str, Any] = field(default_factory=dict)
    creates: bool = False
    about: bool = False
    active_runs: int = 1


COMMANDS = {
    "cleanup_webhook_events": Documented(("days", "provider", "dry_run"), "0 4 * * *"),
    "execute_retention_policies": Documented(("firm_id", "data_type", "max_minutes", "dry_run"), "0 1 * * 0"),
    "export_user_data": Documented(("user_id", "output_dir", "format", "dry_run"), None),
    "reconcile_s3": Documented(("firm_id", "deep", "dry_run"), "0 3 * * *"),
    "check_stale_deals": Documented(("firm_id", "days", "dry_run"), "0 10 * * *"),
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
}
SYSTEM = {
    "cp_ops_migrate": Documented((), None),
    "cp_ops_housekeeping": Documented(("dry_run",), "30 5 * * *"),
    "replay_erasures": Documented(("journal", "dry_run"), None),
    "cp_ops_deliver_mail": Documented(("max_mails", "dry_run"), "*/5 * * * *"),
}
