"""What waits in the three firms for a job to come by: reminders, workflows, retention and erasure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.world.cast import Cast
    from sandbox.world.discrepancies import Manifest

REMINDERS = "send_file_request_reminders"
WORKFLOWS = "execute_pending_workflows"
RETENTION = "execute_retention_policies"
ERASURE = "execute_erasure_request"


def file_requests(cast: Cast, manifest: Manifest | None) -> None:
    """Write reminders that are due, and reminders that must be skipped, each for another reason."""
    firm, client = cast.firm, cast.clients[0]
    who: dict[str, Any] = {"created_by_id": cast.manager.id, "recipient_email": "office@client.example"}
    waiting = firm.file_request(client=client, title="Bank statements", **who)
    waiting.reminder(due_days_ago=-4, reminder_type="final", days_after_creation=10)
    escalated = firm.file_request(
        client=client, title="Signed contract", status="uploaded", uploaded_file_count=1, **who
    )
    done = firm.file_request(
        client=client, title="Tax return", status="completed", completed_at=firm.world.ago(days=2), **who
    )
    expired = firm.file_request(client=client, title="Pay stubs", expires_in_days=-3, **who)
    revoked = firm.file_request(
        client=client,
        title="Identity document",
        share={"revoked": True, "revoked_at": firm.world.ago(days=1), "revoked_by_id": cast.manager.id},
        **who,
    )
    silent = firm.file_request(client=client, title="Receipts", enable_reminders=False, **who)
    due = [
        ("send", waiting.reminder(due_days_ago=1), "followup of a pending request"),
        (
            "send",
            escalated.reminder(
                due_days_ago=0.5,
                reminder_type="escalation",
                escalate_to_team=True,
                escalation_emails=[cast.partner.email],
            ),
            "uploaded but not reviewed: escalation to the team",
        ),
        ("skip", done.reminder(due_days_ago=1), "completed"),
        ("skip", expired.reminder(due_days_ago=1), "expired"),
        ("skip", revoked.reminder(due_days_ago=1), "share revoked"),
        ("skip", silent.reminder(due_days_ago=1), "reminders off"),
    ]
    for kind, reminder, note in due:
        if manifest:
            manifest.plant(REMINDERS, kind, reminder, note)


def appointments(cast: Cast, manifest: Manifest | None) -> None:
    """Schedule executions that are due, and executions that must not run any more."""
    firm, client = cast.firm, cast.clients[0]
    contact = client.contact("Avery", "Stonebrook")
    call = firm.appointment_type("Quarterly review", minutes=45, color_code="#2F6F4F")
    booked = firm.appointment(
        cast.partner, appointment_type=call, client=client, contact=contact, starts_in_hours=20
    )
    cancelled = firm.appointment(
        cast.partner, appointment_type=call, client=client, contact=contact, starts_in_hours=30,
        status="cancelled", cancelled_at=firm.world.ago(hours=3),
    )  # fmt: skip
    held = firm.appointment(
        cast.manager, appointment_type=call, client=client, contact=contact, starts_in_hours=-26, minutes=45,
        status="completed", completed_at=firm.world.ago(hours=25),
    )  # fmt: skip
    mail = firm.workflow(
        config={
            "subject": "Your {{ appointment_type }}",
            "body": "Dear {{ contact_name }}, we look forward to it.",
        }
    )
    task = firm.workflow(
        "create_task", trigger="appointment_completed", config={"title": "Write up {{ appointment_type }}"}
    )
    paused = firm.workflow("send_survey", trigger="appointment_completed", status="paused")
    mail.execution(booked, due_minutes_ago=-60)
    due = [
        ("run", mail.execution(booked, due_minutes_ago=10), "a mail before the meeting"),
        ("run", task.execution(held, due_minutes_ago=5), "a task after the meeting"),
        ("skip", mail.execution(cancelled, due_minutes_ago=10), "appointment cancelled"),
        ("skip", paused.execution(held, due_minutes_ago=10), "workflow paused"),
        ("skip", mail.execution(held, due_minutes_ago=3 * 24 * 60), "three days late"),
    ]
    for kind, execution, note in due:
        if manifest:
            manifest.plant(WORKFLOWS, kind, execution, note)


def privacy(cast: Cast, manifest: Manifest | None) -> None:
    """Write policies with something due, and erasure requests to grant, to refuse and to hold."""
    firm, client = cast.firm, cast.clients[-1]
    leads = firm.retention_policy("leads", 365, action="anonymize", created_by_id=cast.admin.id)
    firm.retention_policy("audit_logs", 2555)
    firm.retention_policy("documents", 0, action="archive")
    firm.retention_policy("invoices", 3650, action="archive", is_active=False)
    for number in range(3):
        firm.lead(f"Former lead {number + 1}", created_at=firm.world.ago(days=500 + number), status="lost")
    firm.lead("Current lead", status="qualified", assigned_to_id=cast.staff.id)
    firm.audit_event("firm.settings_changed", category="CONFIG", age_days=3000, actor_id=cast.admin.id)
    firm.audit_event("client.updated", category="DATA_ACCESS", age_days=30, actor_id=cast.staff.id)

    leaver = client.contact("Jamie", "Fernhill")
    own_wish = client.contact("Casey", "Millbrook")
    due = [
        (
            "execute",
            firm.erasure_request(leaver, requested_by=cast.staff, approved_by=cast.admin),
            "approved by somebody else",
        ),
        (
            "refuse",
            firm.erasure_request(own_wish, requested_by=cast.admin, approved_by=cast.admin),
            "approved by the person who asked for it",
        ),
        (
            "block",
            firm.erasure_request(cast.clients[0], requested_by=cast.staff, approved_by=cast.admin),
            "the account has open invoices and a current engagement",
        ),
    ]
    firm.erasure_request(client.contact("Morgan", "Ravenhall"), requested_by=cast.staff)
    if manifest:
        manifest.plant(RETENTION, "anonymize", leads, "three leads older than a year")
        for kind, request, note in due:
            manifest.plant(ERASURE, kind, request, note)
