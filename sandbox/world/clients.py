"""Clients and what belongs to them: contacts, contracts, engagements, projects with hours and expenses."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sandbox.world.finance import Invoice, Payment, insert_invoice, insert_payment
from sandbox.world.rows import Record


class User(Record):
    """auth_user; `membership_id` is the membership in the firm that made the user, if one did."""

    table = "auth_user"

    def __init__(self, *args: Any, email: str, membership_id: int | None = None) -> None:
        super().__init__(*args)
        self.email = email
        self.membership_id = membership_id


class Contact(Record):
    """clients_contact."""

    table = "clients_contact"

    def __init__(self, *args: Any, email: str) -> None:
        super().__init__(*args)
        self.email = email


class Engagement(Record):
    """clients_engagement."""

    table = "clients_engagement"


class Folder(Record):
    """documents_folders."""

    table = "documents_folders"


class Ticket(Record):
    """support_tickets."""

    table = "support_tickets"


class Project(Record):
    """projects_projects."""

    table = "projects_projects"

    def task(self, title: str = "Prepare the workshop", **columns: Any) -> int:
        """Insert a task and return its id."""
        return int(self.world.insert("projects_tasks", project_id=self.id, title=title, **columns))

    def time_entry(
        self, user: User, *, hours: str = "2.00", rate: str = "150.00", days_ago: int = 0, **columns: Any
    ) -> int:
        """Insert hours that the user worked `days_ago` days ago and return the entry's id."""
        defaults = {
            "date": self.day(-days_ago),
            "description": "Consulting",
            "billed_amount": Decimal(hours) * Decimal(rate),
            "created_at": self.world.ago(days=days_ago),
        }
        return int(
            self.world.insert(
                "projects_time_entries",
                project_id=self.id,
                user_id=user.id,
                hours=Decimal(hours),
                hourly_rate=Decimal(rate),
                **defaults | columns,
            )
        )

    def expense(
        self,
        user: User,
        *,
        amount: str = "80.00",
        status: str = "approved",
        days_ago: int = 0,
        **columns: Any,
    ) -> int:
        """Insert an expense and return its id."""
        defaults = {"date": self.day(-days_ago), "description": "Travel", "category": "travel"}
        return int(
            self.world.insert(
                "projects_expenses",
                project_id=self.id,
                submitted_by_id=user.id,
                amount=Decimal(amount),
                status=status,
                **defaults | columns,
            )
        )


class Client(Record):
    """clients_client."""

    table = "clients_client"

    def __init__(self, *args: Any, name: str) -> None:
        super().__init__(*args)
        self.name = name
        self._versions = 0

    def contact(self, first_name: str = "Robin", last_name: str = "Example", **columns: Any) -> Contact:
        """Insert a contact person."""
        email = columns.pop("email", f"{first_name}.{last_name}.{self.world.serial()}@client.example".lower())
        key = self.world.insert(
            "clients_contact",
            client_id=self.id,
            first_name=first_name,
            last_name=last_name,
            email=email,
            **columns,
        )
        return Contact(self.world, key, self.scope, email=email)

    def contract(self, title: str = "Advisory retainer", *, value: str = "12000.00", **columns: Any) -> int:
        """Insert an active contract over a year and return its id."""
        defaults = {
            "contract_number": f"C-{self.world.serial():05d}",
            "description": title,
            "status": "active",
            "currency": self.scope.currency,
            "start_date": self.day(-180),
            "end_date": self.day(185),
        }
        return int(
            self.insert(
                "crm_contracts",
                client_id=self.id,
                title=title,
                total_value=Decimal(value),
                **defaults | columns,
            )
        )

    def engagement(
        self,
        *,
        fee: str | None = "1000.00",
        schedule: str = "monthly",
        starts_in_days: int = -180,
        ends_in_days: int = 185,
        **columns: Any,
    ) -> Engagement:
        """Insert an engagement with a package fee; its contract is made unless contract_id is given."""
        self._versions += 1
        defaults = {
            "version": self._versions,
            "package_fee": None if fee is None else Decimal(fee),
            "package_fee_schedule": schedule,
            "start_date": self.day(starts_in_days),
            "end_date": self.day(ends_in_days),
            "contracted_value": Decimal(fee or 0) * 12,
        }
        if "contract_id" not in columns:
            columns["contract_id"] = self.contract()
        key = self.insert("clients_engagement", client_id=self.id, **defaults | columns)
        return Engagement(self.world, key, self.scope)

    def invoice(
        self,
        total: str = "1000.00",
        *,
        paid: str = "0.00",
        status: str | None = None,
        issued_days_ago: int = 0,
        due_in_days: int | None = None,
        **columns: Any,
    ) -> Invoice:
        """Insert an invoice; its status follows from the amounts unless it is given."""
        return insert_invoice(
            self,
            self.id,
            total=total,
            paid=paid,
            status=status,
            issued_days_ago=issued_days_ago,
            due_in_days=due_in_days,
            **columns,
        )

    def payment(self, amount: str = "1000.00", **columns: Any) -> Payment:
        """Insert a payment that is allocated to no invoice."""
        return insert_payment(self, self.id, amount=amount, **columns)

    def project(self, name: str = "Operating model", **columns: Any) -> Project:
        """Insert a project in progress."""
        defaults = {
            "project_code": f"P-{self.world.serial():05d}",
            "status": "in_progress",
            "start_date": self.day(-90),
            "end_date": self.day(90),
        }
        key = self.insert("projects_projects", client_id=self.id, name=name, **defaults | columns)
        return Project(self.world, key, self.scope)

    def folder(self, name: str | None = None, **columns: Any) -> Folder:
        """Insert a folder at the top of the client's tree."""
        name = name or f"Folder {self.world.serial()}"
        key = self.insert("documents_folders", client_id=self.id, name=name, **columns)
        return Folder(self.world, key, self.scope)

    def portal_user(self, user: User, **columns: Any) -> int:
        """Give a user the client's portal and return the portal user's id."""
        return int(self.world.insert("clients_portal_user", client_id=self.id, user_id=user.id, **columns))

    def ticket(self, subject: str = "Cannot open the report", **columns: Any) -> Ticket:
        """Insert a support ticket."""
        defaults = {
            "ticket_number": f"T-{self.world.serial():06d}",
            "description": subject,
            "contact_name": "Robin Example",
            "contact_email": "robin@client.example",
        }
        key = self.insert("support_tickets", client_id=self.id, subject=subject, **defaults | columns)
        return Ticket(self.world, key, self.scope)
