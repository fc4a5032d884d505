"""Appointments, meeting workflows and their executions."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sandbox.world.rows import Record

if TYPE_CHECKING:
    from sandbox.world.clients import Client, Contact, User


class AppointmentType(Record):
    """calendar_appointment_types."""

    table = "calendar_appointment_types"


class Appointment(Record):
    """calendar_appointments."""

    table = "calendar_appointments"


class WorkflowExecution(Record):
    """calendar_workflow_executions."""

    table = "calendar_workflow_executions"


class Workflow(Record):
    """calendar_meeting_workflows."""

    table = "calendar_meeting_workflows"

    def execution(
        self, appointment: Appointment, *, due_minutes_ago: float = 0, **columns: Any
    ) -> WorkflowExecution:
        """Insert a pending execution that was due `due_minutes_ago` minutes ago (negative: in the future)."""
        key = self.world.insert(
            "calendar_workflow_executions",
            workflow_id=self.id,
            appointment_id=appointment.id,
            scheduled_for=self.world.ago(minutes=due_minutes_ago),
            **columns,
        )
        return WorkflowExecution(self.world, key, self.scope)


class CalendarOfFirm(Record):
    """The calendar of a firm."""

    def appointment_type(
        self, name: str = "Advisory call", *, minutes: int = 30, **columns: Any
    ) -> AppointmentType:
        """Insert an appointment type."""
        key = self.insert("calendar_appointment_types", name=name, duration_minutes=minutes, **columns)
        return AppointmentType(self.world, key, self.scope)

    def appointment(
        self,
        staff: User,
        *,
        appointment_type: AppointmentType | None = None,
        client: Client | None = None,
        contact: Contact | None = None,
        starts_in_hours: float = 24,
        minutes: int = 30,
        **columns: Any,
    ) -> Appointment:
        """Insert a confirmed appointment."""
        start = self.world.ago(hours=-starts_in_hours)
        key = self.insert(
            "calendar_appointments",
            appointment_type_id=(appointment_type or self.appointment_type(minutes=minutes)).id,
            staff_user_id=staff.id,
            account_id=client.id if client else None,
            contact_id=contact.id if contact else None,
            start_time=start,
            end_time=start + timedelta(minutes=minutes),
            **{"timezone": self.scope.timezone} | columns,
        )
        return Appointment(self.world, key, self.scope)

    def workflow(
        self,
        action_type: str = "send_email",
        *,
        trigger: str = "appointment_confirmed",
        config: dict[str, Any] | None = None,
        **columns: Any,
    ) -> Workflow:
        """Insert an active workflow."""
        defaults = {"name": f"{trigger}: {action_type} {self.world.serial()}"}
        key = self.insert(
            "calendar_meeting_workflows",
            trigger=trigger,
            action_type=action_type,
            action_config=config or {},
            **defaults | columns,
        )
        return Workflow(self.world, key, self.scope)
