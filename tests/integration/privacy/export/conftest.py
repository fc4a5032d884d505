"""A person's export into a folder, and a portal user whom two firms know."""

from __future__ import annotations

from pathlib import Path

import pytest

from cp_ops.privacy.export.job import ExportUserData
from tests.integration.privacy.export.export_world import Archive, NoStore


@pytest.fixture
def exports(tmp_path):
    return tmp_path / "exports"


@pytest.fixture
def export(runner, exports):
    """Export a user into a folder and open the archive."""

    def run(user, *, runner=runner, **options):
        outcome = runner(ExportUserData(NoStore()), user_id=user.id, output_dir=str(exports), **options)
        return Archive(Path(outcome.numbers["archive"]).read_bytes())

    return run


@pytest.fixture
def portal(world):
    """A portal user of one client in a firm, with colleagues, and another firm that knows the same address."""

    class Portal:
        firm = world.firm("Ours")
        other = world.firm("Theirs")
        user = world.user("Pia", "Portal", email="Pia@person.example")
        staff = firm.user("Stefan", "Staff", email="stefan@ours.example")

    p = Portal()
    p.client = p.firm.client(
        "Client One", primary_contact_name="Bo Boss", primary_contact_email="bo@person.example"
    )
    p.portal_id = p.client.portal_user(p.user)
    p.contact = p.client.contact("Pia", "Portal", email="pia@person.example", portal_user_id=p.portal_id)
    p.colleague = p.client.contact("Cora", "Colleague", email="cora@person.example")
    p.invoice = p.client.invoice("120.00", created_by_id=p.staff.id)
    p.client.ticket("Own question", contact_email="pia@person.example", contact_name="Pia Portal")
    p.client.ticket("Secret of Cora", contact_email="cora@person.example", contact_name="Cora Colleague")
    theirs = p.other.client("Their client", primary_contact_email="pia@person.example")
    theirs.contact("Pia", "Theirs-canary", email="pia@person.example")
    theirs.ticket("Theirs-canary", contact_email="pia@person.example", contact_name="Pia Theirs-canary")
    p.other.lead("Theirs-canary", contact_email="pia@person.example", contact_name="Theirs-canary")
    return p
