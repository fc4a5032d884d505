"""The builder of worlds.

    world = World(conn)
    firm = world.firm(timezone="Europe/Paris", currency="EUR")
    client = firm.client()
    invoice = client.invoice(total="200.00", paid="150.00")

Each call inserts one row as the application would, with every column that the database has no default
for, and returns a handle: `.id`, `.row()` reads it again, `.update(...)` changes it. Any column can be
given by its name.
"""

from __future__ import annotations

from typing import Any

from sandbox.world.calendar import CalendarOfFirm
from sandbox.world.clients import Client, User
from sandbox.world.crm import CrmOfFirm
from sandbox.world.documents import DocumentsOfFirm
from sandbox.world.finance import FinanceOfFirm
from sandbox.world.privacy import PrivacyOfFirm
from sandbox.world.rows import Rows, Scope

UNUSABLE_PASSWORD_LENGTH = 40


class Firm(FinanceOfFirm, DocumentsOfFirm, CrmOfFirm, CalendarOfFirm, PrivacyOfFirm):
    """firm_firm: the tenant that everything else belongs to."""

    table = "firm_firm"

    def user(
        self,
        first_name: str = "Alex",
        last_name: str = "Example",
        *,
        role: str = "staff",
        preferences: dict[str, Any] | None = None,
        membership: dict[str, Any] | None = None,
        **columns: Any,
    ) -> User:
        """Insert a user who is a member of this firm; `preferences` are those of the user's profile here."""
        user = insert_user(self.world, first_name, last_name, **columns)
        return self.member(user, role=role, preferences=preferences, **membership or {})

    def member(
        self, user: User, *, role: str = "staff", preferences: dict[str, Any] | None = None, **columns: Any
    ) -> User:
        """Make an existing user a member of this firm."""
        membership_id = self.insert("firm_membership", user_id=user.id, role=role, **columns)
        if preferences is not None:
            self.world.insert(
                "user_profiles", firm_membership_id=membership_id, notification_preferences=preferences
            )
        return User(self.world, user.id, email=user.email, membership_id=membership_id)

    def client(self, company_name: str | None = None, *, autopay: bool = False, **columns: Any) -> Client:
        """Insert an active client; with `autopay` it has a stored payment method."""
        name = company_name or f"Client {self.world.serial()}"
        defaults: dict[str, Any] = {
            "primary_contact_name": "Robin Example",
            "primary_contact_email": "robin@client.example",
            "client_since": self.day(-400),
        }
        if autopay:
            defaults |= {
                "autopay_enabled": True,
                "autopay_payment_method_id": f"pm_{self.world.serial():010d}",
                "autopay_activated_at": self.world.ago(days=100),
            }
        key = self.insert("clients_client", company_name=name, **defaults | columns)
        return Client(self.world, key, self.scope, name=name)


class World(Rows):
    """A database with the application's tables, seen by who fills it."""

    def firm(
        self,
        name: str | None = None,
        *,
        status: str = "active",
        timezone: str = "America/New_York",
        currency: str = "USD",
        kms_key_id: str = "",
        **columns: Any,
    ) -> Firm:
        """Insert a firm; active, in New York and paid in dollars unless said otherwise."""
        name = name or f"Firm {self.serial()}"
        defaults = {"slug": "-".join(name.lower().replace("&", "and").split())}
        key = self.insert(
            "firm_firm",
            name=name,
            status=status,
            timezone=timezone,
            currency=currency,
            kms_key_id=kms_key_id,
            **defaults | columns,
        )
        return Firm(self, key, Scope(key, timezone, currency, kms_key_id))

    def user(self, first_name: str = "Alex", last_name: str = "Example", **columns: Any) -> User:
        """Insert a user who is a member of no firm."""
        return insert_user(self, first_name, last_name, **columns)


def insert_user(world: Rows, first_name: str, last_name: str, **columns: Any) -> User:
    """Insert an account that nobody can log in to: an unusable password, as the application writes it."""
    username = columns.pop("username", f"{first_name}.{last_name}.{world.serial()}".lower())
    email = columns.pop("email", f"{username}@firm.example")
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    password = "!" + "".join(world.random.choices(letters, k=UNUSABLE_PASSWORD_LENGTH))
    key = world.insert(
        "auth_user",
        username=username,
        email=email,
        first_name=first_name,
        last_name=last_name,
        **{"password": password} | columns,
    )
    return User(world, key, email=email)
