"""A person in two firms, requests to erase the person, and moments at which something else happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.hooks.s3 import S3
from cp_ops.privacy.erasure.execution import ErasureExecution
from cp_ops.privacy.erasure.job import ExecuteErasureRequest

if TYPE_CHECKING:
    from sandbox.world.builder import Firm, World
    from sandbox.world.clients import Client, Contact, User
    from sandbox.world.finance import Invoice

PERSON = {"first_name": "Quentin", "last_name": "Zuckmayer", "email": "quentin.zuckmayer@nowhere.example",
          "phone": "+1 555 010 7788", "mobile_phone": "+15550107799", "notes": "Prefers mail to Quentin"}  # fmt: skip
SECRETS = ("quentin", "zuckmayer", "010 7788", "0107799")


@dataclass(frozen=True)
class People:
    """The person in firm A, at two clients and all over its tables; the same person is a contact of firm B, too."""

    firm_a: Firm
    staff_a: User
    boss_a: User
    client_a: Client
    contact_a: Contact
    colleague_a: Contact
    portal_account_a: User
    invoice_a: Invoice
    firm_b: Firm
    client_b: Client
    contact_b: Contact

    @classmethod
    def of(cls, world: World) -> People:
        """Fill both firms."""
        a, b = PersonInFirm.of(world, "a"), PersonInFirm.of(world, "b")
        return cls(
            firm_a=a.firm,
            staff_a=a.staff,
            boss_a=a.boss,
            client_a=a.client,
            contact_a=a.contact,
            colleague_a=a.colleague,
            portal_account_a=a.portal_account,
            invoice_a=a.invoice,
            firm_b=b.firm,
            client_b=b.client,
            contact_b=b.contact,
        )


@dataclass(frozen=True)
class PersonInFirm:
    """The person in one firm: a contact with a portal account, a ticket and a lead, beside a colleague."""

    firm: Firm
    staff: User
    boss: User
    client: Client
    contact: Contact
    colleague: Contact
    portal_account: User
    invoice: Invoice

    @classmethod
    def of(cls, world: World, letter: str) -> PersonInFirm:
        """Fill one firm."""
        firm = world.firm(f"Firm {letter}")
        staff, boss = firm.user("Sam", "Staff"), firm.user("Bo", "Boss", role="admin")
        client = firm.client(
            f"Larch {letter}",
            primary_contact_name="Quentin Zuckmayer",
            primary_contact_email="Quentin.Zuckmayer@nowhere.example",
        )
        contact = client.contact(**PERSON)
        colleague = client.contact("Olga", "Other", email="olga@nowhere.example")
        portal_account = world.user(
            "Quentin", "Zuckmayer", email=PERSON["email"], username=f"quentin-{letter}@x.example"
        )
        portal = client.portal_user(portal_account)
        contact.update(portal_user_id=portal)
        client.ticket(
            "Quentin cannot log in", contact_name="Quentin Zuckmayer", contact_email=PERSON["email"]
        )
        client.ticket("Olga cannot log in", contact_name="Olga Other", contact_email="olga@nowhere.example")
        firm.lead("Larch", contact_name="Quentin Zuckmayer", contact_email=PERSON["email"].upper())
        invoice = client.invoice(total="200.00", paid="200.00", status="paid")
        return cls(firm, staff, boss, client, contact, colleague, portal_account, invoice)


def no_objects():
    raise AssertionError("the plan deletes no objects")


def request_for(firm, subject, people, **columns):
    return firm.erasure_request(subject, requested_by=people.staff_a, approved_by=people.boss_a, **columns)


def execute(runner, request, clients=no_objects, approved=None, **options):
    return runner(ExecuteErasureRequest(clients, approved_plan=approved), request_id=request.id, **options)


def firm_dump(db, firm_id):
    """Every row of a firm, as text: tables with firm_id, and what hangs on its clients."""
    tables = [row[0] for row in db.execute(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'firm_id'"
        " AND table_name NOT LIKE 'mv_%' ORDER BY 1")]  # fmt: skip
    dump = {
        table: db.execute(
            f'SELECT t::text FROM "{table}" t WHERE firm_id = %s ORDER BY 1', (firm_id,)
        ).fetchall()
        for table in tables
    }
    for table in ("clients_contact", "clients_portal_user"):
        dump[table] = db.execute(
            f"SELECT t::text FROM {table} t WHERE client_id IN (SELECT id FROM clients_client WHERE firm_id = %s)"
            " ORDER BY 1", (firm_id,)).fetchall()  # fmt: skip
    dump["auth_user"] = db.execute(
        "SELECT t::text FROM auth_user t WHERE id IN (SELECT user_id FROM firm_membership WHERE firm_id = %s UNION"
        " SELECT user_id FROM clients_portal_user WHERE client_id IN (SELECT id FROM clients_client WHERE firm_id = %s))"
        " ORDER BY 1", (firm_id, firm_id)).fetchall()  # fmt: skip
    return dump


class Eraser(S3):
    def __init__(self, client):
        super().__init__(client=client)


def versions_of(s3, key):
    page = s3.client.list_object_versions(Bucket=s3.name, Prefix=key)
    return [
        entry for kind in ("Versions", "DeleteMarkers") for entry in page.get(kind, []) if entry["Key"] == key
    ]


def set_hold(db, document):
    db.execute("UPDATE documents_documents SET legal_hold = true WHERE id = %s", (document.id,))


def meanwhile(monkeypatch, do, at="erase_dependants"):
    """Let something happen after the preview, once: before the step `at` of the execution."""
    step = getattr(ErasureExecution, at)

    def first(self, *args, **kwargs):
        monkeypatch.setattr(ErasureExecution, at, step)
        do()
        return step(self, *args, **kwargs)

    monkeypatch.setattr(ErasureExecution, at, first)
