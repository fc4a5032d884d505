"""A database that was restored from a backup, and what the replay finds in it."""

from __future__ import annotations

import json

from cp_ops.privacy.replay.job import ReplayErasures
from sandbox.world.documents import StoredFile
from tests.integration.privacy.erasures import PERSON, no_objects

NEW_PERSON = (
    "UPDATE clients_contact SET first_name = 'Nina', last_name = 'New', email = 'nina@else.example',"
    " created_at = clock_timestamp(), portal_user_id = NULL WHERE id = %s"
)
APPEND = "cp_ops.privacy.erasure.journal:append"


def replay(runner, **options):
    return runner(ReplayErasures(no_objects), **options)


def restore(db, people, request):
    """Put back what a backup from before the erasure holds: the person, the open request, an empty journal."""
    db.execute(
        "UPDATE clients_contact SET first_name = 'Quentin', last_name = 'Zuckmayer', email = %s, phone = %s, notes = 'Quentin'"
        " WHERE id = %s",
        (PERSON["email"], PERSON["phone"], people.contact_a.id),
    )
    db.execute(
        "UPDATE support_tickets SET contact_email = %s, contact_name = 'Quentin Zuckmayer' WHERE id IN"
        " (SELECT min(id) FROM support_tickets WHERE firm_id = %s)",
        (PERSON["email"], people.firm_a.id),
    )
    db.execute(
        "UPDATE core_erasure_request SET status = 'approved', execution_result = '{}', audit_events = '[]',"
        " executed_at = NULL WHERE id = %s",
        (request.id,),
    )
    db.execute("DELETE FROM cp_ops.erasure")


def document_in(s3, people):
    stored = StoredFile(bucket=s3.name, key="letter.pdf")
    return people.firm_a.document("letter.pdf", client=people.client_a, versions=[stored])


def lines_of(journal):
    return [json.loads(line) for line in journal.read_text().splitlines()]


def open_findings(db):
    return db.execute(
        "SELECT kind, subject, firm_id FROM cp_ops.finding WHERE resolved_at IS NULL ORDER BY 1, 2"
    ).fetchall()
