"""The large part of the demo world: rows by COPY, as many as the scale asks for, almost all in order."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from psycopg import sql

from sandbox.world.documents import file_type, stored_location
from sandbox.world.files import bulk_documents
from sandbox.world.finance import WEBHOOK_TABLES, webhook_columns
from sandbox.world.story import STALE_DEALS, count_webhook_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sandbox.world.cast import Cast
    from sandbox.world.discrepancies import Manifest

# Rows per unit of scale, in each of the firms that get any.
CLIENTS = 10
INVOICES = 50
TIME_ENTRIES = 100
DEALS = 40
EVENTS_PER_PROVIDER = 125
AUDIT_EVENTS = 50

_STALE_EVERY = 10
_FAILED_EVERY = 50
_AGE_STEP = 37
_YEAR = 365
_EVENT_NUMBERS = 1_000_000_000


def multiply(cast: Cast, manifest: Manifest, *, scale: int, document_scale: int) -> None:
    """Write the bulk rows of one firm."""
    client_ids = _clients(cast, CLIENTS * scale)
    project_ids = _projects(cast, client_ids)
    _invoices(cast, client_ids, project_ids, INVOICES * scale)
    _time_entries(cast, project_ids, TIME_ENTRIES * scale)
    _deals(cast, manifest, DEALS * scale)
    _events(cast, manifest, EVENTS_PER_PROVIDER * scale)
    _audit_events(cast, AUDIT_EVENTS * scale)
    _documents(cast, client_ids[0], document_scale)


def _clients(cast: Cast, count: int) -> list[int]:
    firm = cast.firm
    keys = firm.world.reserve("clients_client", count)
    rows: Iterator[dict[str, Any]] = (
        {
            "id": key,
            "firm_id": firm.id,
            "company_name": f"Company {number:07d}",
            "primary_contact_name": f"Contact {number:07d}",
            "primary_contact_email": f"contact{number:07d}@bulk.example",
            "client_since": firm.day(-number % 1000 - 1000),
            "created_at": firm.world.ago(days=number % 700),
        }
        for number, key in enumerate(keys, start=1)
    )
    firm.world.copy("clients_client", rows)
    return keys


def _projects(cast: Cast, client_ids: Sequence[int]) -> list[int]:
    firm = cast.firm
    keys = firm.world.reserve("projects_projects", len(client_ids))
    start, end = firm.day(-365), firm.day(120)
    rows: Iterator[dict[str, Any]] = (
        {
            "id": key,
            "firm_id": firm.id,
            "client_id": client_id,
            "project_manager_id": cast.manager.id,
            "project_code": f"BULK-{key:07d}",
            "name": f"Project {key:07d}",
            "status": "in_progress",
            "start_date": start,
            "end_date": end,
        }
        for key, client_id in zip(keys, client_ids, strict=True)
    )
    firm.world.copy("projects_projects", rows)
    return keys


def _invoices(cast: Cast, client_ids: Sequence[int], project_ids: Sequence[int], count: int) -> None:
    firm = cast.firm
    today = firm.day()

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(count):
            total = Decimal(10_000 + number * 37 % 500_000) / 100
            issued = today - timedelta(days=number % 360 + 1)
            paid = number % 5 != 0
            yield {
                "firm_id": firm.id,
                "client_id": client_ids[number % len(client_ids)],
                "project_id": project_ids[number % len(project_ids)],
                "invoice_number": f"BULK-{number:08d}",
                "status": "paid" if paid else "sent",
                "subtotal": total,
                "total_amount": total,
                "amount_paid": total if paid else Decimal(0),
                "currency": firm.scope.currency,
                "issue_date": issued,
                "due_date": issued + timedelta(days=30),
                "paid_date": issued + timedelta(days=12) if paid else None,
                "stripe_invoice_id": f"in_bulk{firm.id}x{number:08d}" if number % 2 else "",
            }

    firm.world.copy("finance_invoices", rows())


def _time_entries(cast: Cast, project_ids: Sequence[int], count: int) -> None:
    firm = cast.firm
    today = firm.day()
    people = (cast.manager.id, cast.staff.id)

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(count):
            hours, rate = Decimal(number % 32 + 1) / 4, Decimal(120 + number % 5 * 20)
            yield {
                "project_id": project_ids[number % len(project_ids)],
                "user_id": people[number % len(people)],
                "date": today - timedelta(days=number % 180),
                "hours": hours,
                "description": "Consulting",
                "is_billable": number % 6 != 0,
                "hourly_rate": rate,
                "billed_amount": hours * rate,
            }

    firm.world.copy("projects_time_entries", rows())


def _deals(cast: Cast, manifest: Manifest, count: int) -> None:
    """Open deals with activity in the last three weeks, but one in ten, silent for two months or more."""
    firm = cast.firm
    stage = firm.pipeline("Bulk").stage("Qualified")
    today, owners = firm.day(), (cast.partner.id, cast.manager.id, cast.staff.id)

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(count):
            idle = 60 + number % 90 if number % _STALE_EVERY == 0 else number % 21
            yield {
                "firm_id": firm.id,
                "pipeline_id": stage.pipeline_id,
                "stage_id": stage.id,
                "name": f"Opportunity {number:07d}",
                "value": Decimal(1000 + number * 13 % 90_000),
                "currency": firm.scope.currency,
                "expected_close_date": today + timedelta(days=30 + number % 200),
                "owner_id": owners[number % len(owners)],
                "last_activity_date": today - timedelta(days=idle),
                "created_at": firm.world.ago(days=200 + number % 100),
            }

    firm.world.copy("crm_deals", rows())
    manifest.count(STALE_DEALS, "bulk", "becomes_stale", len(range(0, count, _STALE_EVERY)))


def _events(cast: Cast, manifest: Manifest, count: int) -> None:
    """Events of a year, at half days so that none is exactly as old as a retention; one in fifty failed."""
    firm = cast.firm
    for provider, table in WEBHOOK_TABLES.items():
        first = firm.id * _EVENT_NUMBERS
        columns = webhook_columns(provider, first, firm.world.now, processed=True) | {"firm_id": firm.id}
        firm.world.generate(table, count, columns, _varying(columns, first, firm.world.now))
        for number in range(count):
            age_days = number * _AGE_STEP % _YEAR + 0.5
            count_webhook_event(manifest, provider, age_days, processed=number % _FAILED_EVERY != 0)


def _varying(columns: dict[str, Any], first: int, now: datetime) -> dict[str, sql.Composable]:
    """Return, for an event's columns, what makes each of many events another one: its references, age, fate."""
    processed = sql.SQL("number % {} <> 0").format(sql.Literal(_FAILED_EVERY))
    received = sql.SQL("{} - (number * {} % {} + 0.5) * interval '24 hours'").format(
        sql.Literal(now), sql.Literal(_AGE_STEP), sql.Literal(_YEAR)
    )
    varying: dict[str, sql.Composable] = {
        "error_message": sql.SQL("CASE WHEN {} THEN '' ELSE 'Timed out' END").format(processed)
    }
    for name, value in columns.items():
        if isinstance(value, bool):
            varying[name] = processed
        elif isinstance(value, datetime):
            varying[name] = received
        elif isinstance(value, str) and value.endswith(str(first)):
            prefix = sql.Literal(value.removesuffix(str(first)))
            varying[name] = sql.SQL("{} || ({} + number)").format(prefix, sql.Literal(first))
    if (
        "processed" in columns
    ):  # DocuSign's table tells an event that is not processed by the absent time, too
        varying["processed_at"] = sql.SQL("CASE WHEN {} THEN {} END").format(processed, received)
    return varying


def _audit_events(cast: Cast, count: int) -> None:
    firm = cast.firm
    rows: Iterator[dict[str, Any]] = (
        {
            "firm_id": firm.id,
            "category": "DATA_ACCESS",
            "action": "document.viewed",
            "actor_id": cast.staff.id,
            "target_model": "documents.Document",
            "timestamp": firm.world.ago(days=number * 3 % 2400),
        }
        for number in range(count)
    )
    firm.world.copy("firm_audit_events", rows)


def _documents(cast: Cast, client_id: int, scale: int) -> None:
    """Documents of one version each, whose objects are in S3 as their rows say."""
    firm = cast.firm
    folder_id = firm.insert("documents_folders", client_id=client_id, name="Bulk")
    planned = list(bulk_documents(firm.id, scale))
    keys = firm.world.reserve("documents_documents", len(planned))
    created = firm.world.ago(days=14)
    location: list[dict[str, Any]] = [
        {
            "file_type": file_type(plan.versions[0].stored.key),
            "file_size_bytes": plan.versions[0].stored.size,
            "created_at": created,
            "firm_id": firm.id,
        }
        | stored_location(firm, plan.versions[0].stored)
        for plan in planned
    ]
    firm.world.copy(
        "documents_documents",
        (
            place
            | {
                "id": key,
                "client_id": client_id,
                "folder_id": folder_id,
                "name": plan.name,
                "status": "active",
            }
            for key, plan, place in zip(keys, planned, location, strict=True)
        ),
    )
    firm.world.copy(
        "documents_versions",
        (
            place
            | {"document_id": key, "version_number": 1, "checksum": plan.versions[0].stored.checksum}
            | {"virus_scan_status": "clean"}
            for key, plan, place in zip(keys, planned, location, strict=True)
        ),
    )
