"""The generated parts of README.md: the tables of commands, of the other DAGs and of settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow.sdk import DAG

CONSULTANTPRO = "ConsultantPro, Management Commands Reference"
SOLANA = "django-solana-payments, Management Commands"
COMMANDS: dict[str, tuple[str, str]] = {
    "reconcile_stripe": (CONSULTANTPRO, "0 2 * * *"),
    "refresh_materialized_views": (CONSULTANTPRO, "0 5 * * *"),
    "process_recurring_charges": (CONSULTANTPRO, "0 * * * *"),
    "generate_package_invoices": (CONSULTANTPRO, "manual"),
    "provision_firm": (CONSULTANTPRO, "manual"),
    "execute_retention_policies": (CONSULTANTPRO, "0 1 * * 0"),
    "export_user_data": (CONSULTANTPRO, "manual"),
    "execute_erasure_request": (CONSULTANTPRO, "manual"),
    "cleanup_webhook_events": (CONSULTANTPRO, "0 4 * * *"),
    "send_file_request_reminders": (CONSULTANTPRO, "0 9 * * *"),
    "reconcile_s3": (CONSULTANTPRO, "0 3 * * *"),
    "execute_pending_workflows": (CONSULTANTPRO, "*/15 * * * *"),
    "check_stale_deals": (CONSULTANTPRO, "0 10 * * *"),
    "send_stale_deal_reminders": (CONSULTANTPRO, "30 10 * * *"),
    "sync_ad": (CONSULTANTPRO, "hourly, firms that are due"),
    "close_expired_solana_payments_with_wallets": (SOLANA, "every 15 minutes, first of a chain"),
    "send_solana_payments_from_one_time_wallets": (SOLANA, "every 15 minutes, second of the chain"),
    "close_expired_one_time_wallets_and_reclaim_funds": (SOLANA, "every 15 minutes, third of the chain"),
    "recheck_initiated_solana_payments": (SOLANA, "0 * * * *"),
}
"""The commands of the two documents, in their order, and the schedule that each is meant for."""


def fill(text: str, dags: Mapping[str, DAG], schedule: Callable[[DAG], str]) -> str:
    """Put the current tables between their markers.

    :raises ValueError: when a pair of markers is missing.
    """
    tables = {
        "commands": _commands(dags, schedule),
        "others": _others(dags, schedule),
        "settings": _settings(),
    }
    for name, lines in tables.items():
        block = f"<!-- {name}: written by `make docs` -->\n" + "\n".join(lines) + f"\n<!-- /{name} -->"
        marked = re.findall(rf"<!-- {name}: .*?<!-- /{name} -->", text, flags=re.DOTALL)
        if len(marked) != 1:
            raise ValueError(
                f"README.md must hold the markers of the table {name} once, not {len(marked)} times"
            )
        text = text.replace(marked[0], block)
    return text


def _commands(dags: Mapping[str, DAG], schedule: Callable[[DAG], str]) -> list[str]:
    lines = ["| command | there | schedule | what it does |", "|---|---|---|---|"]
    for name, (_, planned) in COMMANDS.items():
        dag = dags.get(name)
        if dag is None:
            cron = f"`{planned}`" if "*" in planned else planned
            lines.append(f"| {name} | not yet | {cron} | |")
        else:
            lines.append(f"| [{name}](DAGS.md#{name}) | yes | {schedule(dag)} | {dag.description} |")
    return lines


def _others(dags: Mapping[str, DAG], schedule: Callable[[DAG], str]) -> list[str]:
    lines = ["| DAG | schedule | what it does |", "|---|---|---|"]
    lines += [
        f"| [{name}](DAGS.md#{name}) | {schedule(dag)} | {dag.description} |"
        for name, dag in dags.items()
        if name not in COMMANDS
    ]
    return lines


def _settings() -> list[str]:
    from cp_ops.runtime.settings import Settings

    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        value = field.get_default(call_default_factory=True)
        default = "empty" if value in ("", {}) else f"`{value}`"
        lines.append(f"| `{name}` | {default} | {field.description} |")
    return lines
