"""execute_erasure_request: what our own outbox knows about the person."""

from __future__ import annotations

from tests.integration.privacy.erasures import PERSON, execute, request_for


def mail(db, firm_id, key, recipient, text, state):
    db.execute(
        "INSERT INTO cp_ops.mail (firm_id, kind, subject_key, step, recipient, recipient_key, sender, title, body_text,"
        " body_html, state, created_by_run) VALUES (%s, 'x', %s, 'x', %s, encode(sha256(lower(%s)::bytea), 'hex'),"
        " 'ops@x.example', 't', %s, '', %s, 1)",
        (firm_id, key, recipient, recipient, text, state),
    )


def mails(db):
    return db.execute(
        "SELECT subject_key, recipient, body_text, state FROM cp_ops.mail ORDER BY 1"
    ).fetchall()


def test_our_own_outbox_forgets_the_person_too(runner, db, people):
    a, b = people.firm_a.id, people.firm_b.id
    mail(db, a, "1", PERSON["email"], "hello", "sent")
    mail(db, a, "2", PERSON["email"], "hello", "pending")
    mail(db, a, "3", "sam@x.example", f"see {PERSON['email']}", "sent")
    mail(db, a, "4", "sam@x.example", "see others", "sent")
    mail(db, b, "5", PERSON["email"], "hello", "sent")
    planned = execute(runner, request_for(people.firm_a, people.contact_a, people)).planned
    assert mails(db) == [
        ("1", "", "", "sent"),
        ("2", "", "", "failed"),
        ("3", "sam@x.example", "", "sent"),
        ("4", "sam@x.example", "see others", "sent"),
        ("5", PERSON["email"], "hello", "sent"),
    ]
    assert planned >= 3


def test_a_mail_to_somebody_else_is_still_sent_and_still_not_sent_twice(runner, db, people):
    """It may name the person's address, or a number that is the whole company's."""
    people.contact_a.update(phone="0441112233")
    texts = (
        f"Ask {PERSON['email']}",
        "Questions: call Larch at 0441112233",
        "Dear Jan, sign in as jan@nowhere.example",
    )
    for number, text in enumerate(texts):
        mail(db, people.firm_a.id, str(number), "zoe@pine.example", text, "pending")
    mail(db, people.firm_a.id, "9", "zoe@pine.example", f"Ask {PERSON['email']}", "sent")
    keys = db.execute("SELECT recipient_key FROM cp_ops.mail").fetchall()
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert mails(db) == [
        *((str(number), "zoe@pine.example", text, "pending") for number, text in enumerate(texts)),
        ("9", "zoe@pine.example", "", "sent"),
    ]
    assert db.execute("SELECT recipient_key FROM cp_ops.mail").fetchall() == keys


def test_an_address_that_ends_like_the_persons_is_somebody_elses(runner, db, people):
    ann = people.client_a.contact("Ann", "Short", email="an@nowhere.example", phone="", mobile_phone="")
    jan = people.client_a.contact("Jan", "Long", email="jan@nowhere.example", phone="", mobile_phone="")
    people.firm_a.client("Elm").project().task(
        "Mail jan@nowhere.example, an@nowhere.example.com or j+an@nowhere.example"
    )
    mail(db, people.firm_a.id, "1", "jan@nowhere.example", "Dear Jan, sign in as jan@nowhere.example", "sent")
    before = (jan.row(), mails(db))
    request = request_for(people.firm_a, ann, people)
    execute(runner, request)
    assert request.row()["status"] == "completed"
    assert (jan.row(), mails(db)) == before
