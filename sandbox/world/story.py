"""What happened in the three firms: the small, readable part of the demo world, with its discrepancies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.world import autopay, due
from sandbox.world.files import JOB as RECONCILE_S3
from sandbox.world.files import PlannedDocument
from sandbox.world.finance import WEBHOOK_TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.world.cast import Cast
    from sandbox.world.clients import Client
    from sandbox.world.crm import Deal, Stage
    from sandbox.world.discrepancies import Manifest

STALE_DEALS = "check_stale_deals"
CLEANUP = "cleanup_webhook_events"
WEBHOOK_RETENTION_DAYS = 180
IN_BUSINESS = ("active", "trial")


def tell(cast: Cast, manifest: Manifest, documents: Sequence[PlannedDocument]) -> None:
    """Write everything that happened in one firm."""
    firm = cast.firm
    open_for_business = manifest.firms[firm.id] in IN_BUSINESS
    for client in cast.clients:
        _work(cast, client)
    _sales(cast, manifest if open_for_business else None)
    _files(cast, manifest if open_for_business else None, documents)
    _webhooks(cast, manifest)
    autopay.tell(cast, manifest if open_for_business else None)
    due.file_requests(cast, manifest if open_for_business else None)
    due.appointments(cast, manifest if open_for_business else None)
    due.privacy(cast, manifest if open_for_business else None)


def _work(cast: Cast, client: Client) -> None:
    """Give a client an engagement, a project with hours and expenses, and invoices in every usual state."""
    engagement = client.engagement(fee="2500.00", schedule="monthly")
    project = client.project(f"Operating model, {client.name}", project_manager_id=cast.manager.id)
    project.task("Interview the heads of department", assigned_to_id=cast.staff.id, status="done")
    project.task("Draft the recommendations", assigned_to_id=cast.staff.id, due_date=client.day(10))
    for week in range(8):
        project.time_entry(cast.staff, hours="6.50", rate="140.00", days_ago=7 * week + 1, approved=True)
        project.time_entry(
            cast.manager, hours="1.25", rate="210.00", days_ago=7 * week + 2, is_billable=week % 4 != 0
        )
    project.expense(cast.staff, amount="184.20", days_ago=12, approved_by_id=cast.manager.id)
    project.expense(cast.staff, amount="61.00", status="submitted", days_ago=4)

    number = client.id
    work: dict[str, Any] = {"engagement_id": engagement.id, "project_id": project.id}
    client.invoice(
        "2500.00",
        issued_days_ago=70,
        due_in_days=-40,
        stripe_invoice_id=f"in_demo{number:04d}a",
        stripe_payment_intent_id=f"pi_demo{number:04d}a",
        **work,
    ).paid_by("2500.00", payment_method="stripe", reference_number=f"pi_demo{number:04d}a")
    client.invoice("1800.00", issued_days_ago=50, due_in_days=-20, **work).paid_by(
        "600.00", payment_method="bank_transfer"
    )
    client.invoice("950.00", status="overdue", issued_days_ago=45, due_in_days=-15, dunning_level=1, **work)
    client.invoice(
        "2500.00",
        issued_days_ago=10,
        due_in_days=20,
        autopay_opt_in=True,
        autopay_next_charge_at=client.world.ago(days=-20),
        stripe_invoice_id=f"in_demo{number:04d}b",
        **work,
    )
    client.invoice("400.00", status="draft", **work)


def _sales(cast: Cast, manifest: Manifest | None) -> None:
    """Fill a pipeline with deals in every state that check_stale_deals tells apart."""
    firm = cast.firm
    pipeline = firm.pipeline("Sales", is_default=True)
    names = ("Discovery", "Proposal", "Negotiation")
    stages = [
        pipeline.stage(name, probability=chance, display_order=place)
        for place, (name, chance) in enumerate(zip(names, (20, 50, 80), strict=True), start=1)
    ]
    won = pipeline.stage("Won", probability=100, is_closed_won=True, display_order=4)
    lost = pipeline.stage("Lost", probability=0, is_closed_lost=True, display_order=5)

    firm.deal(
        "Cost programme", stage=stages[1], owner=cast.partner, last_activity_days_ago=3, created_days_ago=40
    )
    firm.deal("New enquiry", stage=stages[0], created_days_ago=2)
    firm.deal(
        "Closed and won",
        stage=won,
        owner=cast.partner,
        last_activity_days_ago=120,
        created_days_ago=200,
        closes_in_days=-100,
        is_active=False,
        is_won=True,
        actual_close_date=firm.day(-100),
        probability=100,
    )
    firm.deal(
        "Closed and lost",
        stage=lost,
        owner=cast.manager,
        last_activity_days_ago=150,
        created_days_ago=220,
        closes_in_days=-130,
        is_active=False,
        is_lost=True,
        lost_reason="No budget",
        probability=0,
    )
    known = firm.deal(
        "Known to be stale",
        stage=stages[1],
        owner=cast.partner,
        last_activity_days_ago=60,
        created_days_ago=140,
        is_stale=True,
    )
    known.alert("stale", recipients=[cast.partner], age_days=30)
    for kind, deal, note in _due_deals(cast, stages):
        if manifest:
            manifest.plant(STALE_DEALS, kind, deal, note)


def _due_deals(cast: Cast, stages: Sequence[Stage]) -> list[tuple[str, Deal, str]]:
    firm, stage = cast.firm, stages[2]
    silent = firm.deal(
        "Gone silent", stage=stage, owner=cast.partner, team=[cast.manager], value="48000.00",
        last_activity_days_ago=45, created_days_ago=90,
    )  # fmt: skip
    never = firm.deal("Never touched", stage=stages[0], owner=cast.manager, created_days_ago=50)
    impatient = firm.deal(
        "Impatient",
        stage=stage,
        owner=cast.staff,
        threshold_days=14,
        last_activity_days_ago=20,
        created_days_ago=60,
    )
    orphaned = firm.deal(
        "Owner has left", stage=stage, owner=cast.former, last_activity_days_ago=75, created_days_ago=100
    )
    unowned = firm.deal(
        "Nobody's", stage=stages[1], team=[cast.staff], last_activity_days_ago=38, created_days_ago=70
    )
    revived = firm.deal(
        "Revived",
        stage=stage,
        owner=cast.partner,
        last_activity_days_ago=2,
        created_days_ago=110,
        is_stale=True,
    )
    revived.alert("stale", recipients=[cast.partner], age_days=21)
    closing = firm.deal(
        "Closes this week", stage=stage, owner=cast.partner, last_activity_days_ago=1, created_days_ago=30,
        closes_in_days=5,
    )  # fmt: skip
    overdue = firm.deal(
        "Should have closed", stage=stage, owner=cast.manager, last_activity_days_ago=4, created_days_ago=80,
        closes_in_days=-4,
    )  # fmt: skip
    return [
        ("becomes_stale", silent, "45 days without activity"),
        ("becomes_stale", never, "no activity in the 50 days since it was made"),
        ("becomes_stale", impatient, "20 days without activity, its own threshold is 14"),
        ("becomes_stale", orphaned, "75 days without activity, the owner is inactive"),
        ("becomes_stale", unowned, "38 days without activity, no owner but a team member"),
        ("no_longer_stale", revived, "marked stale, active 2 days ago; its alert closes"),
        ("close_date", closing, "closes within 7 days"),
        ("close_date", overdue, "its close date has passed"),
    ]


def _files(cast: Cast, manifest: Manifest | None, documents: Sequence[PlannedDocument]) -> None:
    """Write the planned documents; what is wrong with a version is noted under its own row."""
    client = cast.clients[0]
    folder = client.folder("Client files", visibility="client")
    for planned in documents:
        document = cast.firm.document(
            planned.name,
            client=client,
            folder=folder,
            versions=[version.stored for version in planned.versions],
            age_days=30,
            uploaded_by_id=cast.staff.id,
            status="active",
        )
        for version, plan in zip(document.versions, planned.versions, strict=True):
            if manifest and plan.kind:
                manifest.plant(RECONCILE_S3, plan.kind, version, plan.note)


def _webhooks(cast: Cast, manifest: Manifest) -> None:
    """Write events old and new, processed and not: cleanup takes every firm's, whatever its status."""
    for provider in WEBHOOK_TABLES:
        for age_days, processed, error in (
            (400, True, ""),
            (200, True, ""),
            (300, False, "The invoice was locked"),
            (190, False, ""),
            (20, True, ""),
            (2, False, "Timed out"),
        ):
            cast.firm.webhook_event(provider, age_days=age_days, processed=processed, error=error)
            count_webhook_event(manifest, provider, age_days, processed=processed)


def count_webhook_event(manifest: Manifest, provider: str, age_days: float, *, processed: bool) -> None:
    """Note what cleanup_webhook_events has to do with an event, at the default of 180 days."""
    kind = "recent" if age_days < WEBHOOK_RETENTION_DAYS else "deleted" if processed else "kept_unprocessed"
    manifest.count(CLEANUP, provider, kind)
