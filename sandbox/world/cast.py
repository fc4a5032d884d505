"""The people and companies of the demo world: all made up, all under example domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.world.builder import Firm, World
    from sandbox.world.clients import Client, User


@dataclass(frozen=True)
class FirmScript:
    """What the demo knows of a firm before it exists."""

    name: str
    status: str
    timezone: str
    currency: str
    kms_key_id: str
    domain: str
    people: tuple[tuple[str, str, str], ...]  # first name, last name, role; the last one has left
    clients: tuple[tuple[str, str, str, str], ...]  # company, industry, contact's first and last name


FIRMS = (
    FirmScript(
        name="Harbor & Pine Advisory",
        status="active",
        timezone="America/New_York",
        currency="USD",
        kms_key_id="",
        domain="harborpine.example",
        people=(
            ("Maren", "Castell", "admin"),
            ("Tobias", "Wren", "partner"),
            ("Imani", "Harlow", "manager"),
            ("Felix", "Ashdown", "staff"),
            ("Rosa", "Quillfeather", "staff"),
        ),
        clients=(
            ("Larkspur Foods", "Food production", "Dana", "Merrow"),
            ("Bright Anchor Logistics", "Transport", "Owen", "Tidewell"),
            ("Cobalt Dental Group", "Health care", "Priya", "Sandoval-Reed"),
            ("Northfield Timber", "Forestry", "Grant", "Oakhurst"),
            ("Juniper Learning", "Education", "Sofia", "Lindqvarn"),
        ),
    ),
    FirmScript(
        name="Atelier Nord Conseil",
        status="trial",
        timezone="Europe/Paris",
        currency="EUR",
        kms_key_id="atelier-nord-firm-key",
        domain="ateliernord.example",
        people=(
            ("Élodie", "Varenne", "admin"),
            ("Bastien", "Corvel", "partner"),
            ("Nour", "Delmas-Roy", "manager"),
            ("Yann", "Kerbrac", "staff"),
            ("Colette", "Aubrive", "staff"),
        ),
        clients=(
            ("Moulins Réunis", "Food production", "Aurèle", "Montclar"),
            ("Transports Beauvallon", "Transport", "Inès", "Granval"),
            ("Clinique des Tilleuls", "Health care", "Mathis", "Ferréol"),
        ),
    ),
    FirmScript(
        name="Quayside Partners",
        status="suspended",
        timezone="Asia/Singapore",
        currency="SGD",
        kms_key_id="",
        domain="quayside.example",
        people=(
            ("Wei Lin", "Tanaku", "admin"),
            ("Harish", "Velloo", "partner"),
            ("Siti", "Rahmanto", "manager"),
            ("Jun", "Katsuro", "staff"),
            ("Mei", "Oonwal", "staff"),
        ),
        clients=(("Straits Cold Storage", "Transport", "Arif", "Hassanov"),),
    ),
)


@dataclass(frozen=True)
class Cast:
    """A firm of the demo world with its people and clients."""

    firm: Firm
    admin: User
    partner: User
    manager: User
    staff: User
    former: User
    clients: tuple[Client, ...]


def engage(world: World, script: FirmScript) -> Cast:
    """Insert a firm, its people and its clients."""
    firm = world.firm(
        script.name,
        status=script.status,
        timezone=script.timezone,
        currency=script.currency,
        kms_key_id=script.kms_key_id,
        subscription_tier="professional",
        max_users=25,
        max_clients=250,
        current_users_count=len(script.people),
        current_clients_count=len(script.clients),
        trial_ends_at=world.ago(days=-20) if script.status == "trial" else None,
        created_at=world.ago(days=900),
        updated_at=world.ago(days=5),
    )
    people = []
    for position, (first, last, role) in enumerate(script.people, start=1):
        left = position == len(script.people)
        handle = f"{first}.{last}".lower().replace(" ", "")
        user = firm.user(
            first,
            last,
            role=role,
            username=f"{handle}@{script.domain}",
            email=f"{handle}@{script.domain}",
            is_active=not left,
            date_joined=world.ago(days=800),
            preferences={"deal_alerts": role != "staff", "email_digest": True},
            membership={
                "is_active": not left,
                "can_manage_users": role == "admin",
                "can_manage_settings": role == "admin",
                "can_view_reports": role != "staff",
                "invited_at": world.ago(days=800),
            },
        )
        people.append(user)
    clients = tuple(_client(firm, people[1], line) for line in script.clients)
    admin, partner, manager, staff, former = people
    return Cast(firm, admin, partner, manager, staff, former, clients)


def _client(firm: Firm, account_manager: User, line: tuple[str, str, str, str]) -> Client:
    company, industry, first, last = line
    domain = (
        "".join(letter for letter in company.lower() if letter.isascii() and letter.isalnum()) + ".example"
    )
    client = firm.client(
        company,
        industry=industry,
        autopay=len(company) % 2 == 0,
        primary_contact_name=f"{first} {last}",
        primary_contact_email=f"{first}.{last}@{domain}".lower(),
        primary_contact_phone="+1 555 0100",
        street_address="1 Market Square",
        city="Springmere",
        postal_code="00100",
        account_manager_id=account_manager.id,
        portal_enabled=True,
        created_at=firm.world.ago(days=700),
    )
    client.contact(
        first, last, email=f"{first}.{last}@{domain}".lower(), is_primary_contact=True, phone="+1 555 0101"
    )
    return client
