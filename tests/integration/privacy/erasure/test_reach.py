"""execute_erasure_request: which rows and values are the person's, and which are somebody else's."""

from __future__ import annotations

import re

import pytest

from tests.integration.privacy.erasures import PERSON, execute, firm_dump, request_for


def test_an_account_is_erased_with_its_people_and_the_ledger_stays(runner, db, people):
    before_b = firm_dump(db, people.firm_b.id)
    ledger = "SELECT total_amount, amount_paid, issue_date, status, invoice_number FROM finance_invoices ORDER BY id"
    invoices = db.execute(ledger).fetchall()
    execute(runner, request_for(people.firm_a, people.client_a, people))
    client = people.client_a.row()
    assert client["company_name"] == f"Erased {client['id']}"
    assert client["primary_contact_email"].endswith("@erased.invalid")
    assert people.colleague_a.row()["first_name"].startswith("Erased")
    assert db.execute(ledger).fetchall() == invoices
    assert firm_dump(db, people.firm_b.id) == before_b


def test_the_same_person_at_another_client_of_the_firm_is_erased_too(runner, people):
    other = people.firm_a.client("Pine").contact(**PERSON)
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert other.row()["email"].endswith("@erased.invalid")


COMPANY = {"street_address": "1 Main St", "city": "Bern", "website": "https://larch.example",
           "autopay_payment_method_id": "pm_1", "notes": "pays late"}  # fmt: skip


def test_a_contact_who_was_the_prospects_does_not_take_the_company_with_it(runner, people):
    prospect = people.firm_a.prospect("Larch a", primary_contact_name="Quentin Zuckmayer",
                                      primary_contact_email=PERSON["email"])  # fmt: skip
    people.client_a.update(source_prospect_id=prospect, **COMPANY)
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    client = people.client_a.row()
    assert {name: client[name] for name in COMPANY} == COMPANY
    assert client["company_name"] == "Larch a"
    assert client["primary_contact_email"].endswith("@erased.invalid")


def test_the_prospect_of_an_erased_account_goes_with_it(runner, db, people):
    lead = people.firm_a.lead("Larch", contact_name="Olga Other", contact_email="olga@nowhere.example")
    prospect = people.firm_a.prospect("Larch a", primary_contact_name="Paula Former",
                                      primary_contact_email="paula@nowhere.example", lead_id=lead)  # fmt: skip
    people.client_a.update(source_prospect_id=prospect, **COMPANY)
    execute(runner, request_for(people.firm_a, people.client_a, people))
    assert people.client_a.row()["notes"] == people.client_a.row()["street_address"] == ""
    rows = db.execute("SELECT primary_contact_email FROM crm_prospects UNION ALL SELECT contact_email FROM crm_leads"
                      " WHERE firm_id = %s", (people.firm_a.id,)).fetchall()  # fmt: skip
    assert len(rows) == 3
    assert all(email.endswith("@erased.invalid") for (email,) in rows)


def test_the_lead_of_somebody_else_that_became_the_persons_prospect_stays(runner, db, people):
    """The colleague asked first: her lead became the prospect whose contact is the person."""
    lead = people.firm_a.lead(
        "Larch", contact_name="Olga Other", contact_email="olga@nowhere.example", notes="warm"
    )
    people.firm_a.prospect("Larch a", primary_contact_name="Quentin Zuckmayer",
                           primary_contact_email=PERSON["email"], lead_id=lead)  # fmt: skip
    leads = "SELECT t::text FROM crm_leads t WHERE id = %s"
    before = (people.colleague_a.row(), db.execute(leads, (lead,)).fetchall())
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert (people.colleague_a.row(), db.execute(leads, (lead,)).fetchall()) == before


def test_the_prospect_of_somebody_else_that_came_of_the_persons_lead_stays(runner, db, people):
    lead = people.firm_a.lead("Larch", contact_name="Quentin Zuckmayer", contact_email=PERSON["email"])
    prospect = people.firm_a.prospect("Larch a", primary_contact_name="Olga Other", notes="warm", city="Bern",
                                      primary_contact_email="olga@nowhere.example", lead_id=lead)  # fmt: skip
    prospects = "SELECT t::text FROM crm_prospects t WHERE id = %s"
    before = db.execute(prospects, (prospect,)).fetchall()
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert db.execute(prospects, (prospect,)).fetchall() == before


def test_an_account_that_is_used_elsewhere_stays(runner, people):
    people.firm_b.member(people.portal_account_a, role="staff")
    before = people.portal_account_a.row()
    outcome = execute(runner, request_for(people.firm_a, people.contact_a, people))
    assert people.portal_account_a.row() == before
    assert outcome.skip_reasons["kept: the account is used elsewhere, too"] == 1


def test_an_engagement_loses_its_text_and_keeps_its_terms(runner, people):
    engagement = people.client_a.engagement(status="completed", notes="Quentin likes it short")
    value = engagement.row()["contracted_value"]
    execute(runner, request_for(people.firm_a, engagement, people))
    assert engagement.row()["notes"] == ""
    assert engagement.row()["contracted_value"] == value
    assert people.contact_a.row()["email"] == PERSON["email"]


def artifact(people, **columns):
    firm = people.firm_a
    return firm.insert("email_ingestion_artifacts", provider="gmail", external_message_id=f"m{firm.world.serial()}",
                       thread_id="t", sent_at=firm.world.now, received_at=firm.world.now, **columns)  # fmt: skip


def test_a_mail_that_the_person_wrote_or_got_is_erased(runner, db, people):
    others = {"from_address": "olga@nowhere.example", "to_addresses": "sam@x.example", "subject": "Hello"}
    artifact(people, from_address=PERSON["email"].title(), to_addresses="sam@x.example", subject="Hello")
    artifact(people, **others | {"to_addresses": f"sam@x.example, Quentin <{PERSON['email']}>"})
    artifact(people, **others | {"cc_addresses": PERSON["email"]})
    artifact(people, **others | {"body_preview": f"{PERSON['email']} wrote:"})
    artifact(people, **others)
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    rows = db.execute("SELECT from_address, to_addresses, cc_addresses, subject, body_preview"
                      " FROM email_ingestion_artifacts ORDER BY id").fetchall()  # fmt: skip
    assert re.fullmatch(r"erased-\d+@erased\.invalid", rows[0][0])
    assert rows == [
        (rows[0][0], "", "", "", ""),
        ("olga@nowhere.example", "", "", "Hello", ""),
        *[("olga@nowhere.example", "sam@x.example", "", "Hello", "")] * 3,
    ]


PAYLOADS = {"stripe": "event_data", "square": "event_data", "sms": "event_data", "docusign": "payload"}


@pytest.mark.parametrize(("provider", "column"), PAYLOADS.items())
def test_what_a_provider_sent_about_the_person_is_erased_and_about_others_stays(
    runner, people, provider, column
):
    theirs = people.firm_a.webhook_event(provider, **{column: {"customer": {"email": PERSON["email"]}}})
    number = people.firm_a.webhook_event(provider, **{column: {"From": "15550107799"}})
    other = people.firm_a.webhook_event(provider, **{column: {"customer": {"email": "olga@nowhere.example"}}})
    of_b = people.firm_b.webhook_event(provider, **{column: {"customer": {"email": PERSON["email"]}}})
    before = [event.row() for event in (theirs, number, other, of_b)]
    request = request_for(people.firm_a, people.contact_a, people)
    execute(runner, request)
    after = [event.row() for event in (theirs, number, other, of_b)]
    erased = [row | {column: {}, "updated_at": None} for row in before[:2]]
    assert [row | {"updated_at": None} for row in after[:2]] == erased
    assert after[2:] == before[2:]
    assert request.row()["status"] == "completed"


def test_events_of_an_erased_accounts_invoices_and_payments_lose_their_payload(runner, people):
    payment = people.client_a.payment("200.00")
    of_invoice = people.firm_a.webhook_event(
        "stripe", invoice_id=people.invoice_a.id, event_data={"name": "Larch"}
    )
    of_payment = people.firm_a.webhook_event("square", payment_id=payment.id, event_data={"name": "Larch"})
    other = people.firm_a.webhook_event("stripe", event_data={"name": "Elm"})
    execute(runner, request_for(people.firm_a, people.client_a, people))
    assert [event.row()["event_data"] for event in (of_invoice, of_payment, other)] == [
        {},
        {},
        {"name": "Elm"},
    ]


def test_a_conversation_with_a_lead_loses_the_leads_number(runner, db, people):
    (lead,) = db.execute("SELECT id FROM crm_leads WHERE firm_id = %s", (people.firm_a.id,)).fetchone()
    conversation = people.firm_a.insert(
        "sms_conversations", phone_number="+15550107799", lead_id=lead, status="active"
    )
    people.firm_a.insert("sms_messages", conversation_id=conversation, lead_id=lead, from_number="+15550107799",
                         to_number="+41440000000", message_body="Hello", direction="inbound", status="received")  # fmt: skip
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    numbers = db.execute(
        "SELECT phone_number FROM sms_conversations UNION ALL SELECT from_number FROM sms_messages"
    )
    assert [number.startswith("erased-") for (number,) in numbers.fetchall()] == [True, True]


def test_what_the_application_logged_about_the_person_names_nobody_any_more(runner, db, people):
    """A login that failed has an address and no account; a row's name in the trail holds its address."""
    insert = ("INSERT INTO firm_audit_events (firm_id, category, action, severity, actor_email, actor_role, target_model,"
              " target_id, target_repr, timestamp, reason, outcome, metadata, user_agent, request_id, review_notes)"
              " VALUES (%s, 'AUTH', %s, 'INFO', %s, '', 'clients.Contact', '1', %s, now(), '', 'success', '{}', '', '', '')")  # fmt: skip
    a = people.firm_a.id
    db.execute(insert, (a, "login_failed", PERSON["email"], ""))
    db.execute(insert, (a, "updated", "sam@x.example", f"Quentin <{PERSON['email']}>"))
    db.execute(insert, (a, "viewed", "sam@x.example", "Olga <olga@nowhere.example>"))
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    rows = db.execute(
        "SELECT action, actor_email, target_repr FROM firm_audit_events WHERE category = 'AUTH' ORDER BY id"
    )
    failed, updated, viewed = rows.fetchall()
    assert re.fullmatch(r"erased-\d+@erased\.invalid", failed[1])
    assert updated == ("updated", "sam@x.example", "")
    assert viewed == ("viewed", "sam@x.example", "Olga <olga@nowhere.example>")


def test_a_message_from_a_number_that_nobody_was_linked_to_is_the_persons(runner, db, people):
    for number in ("+15550107799", "+15550107700"):
        people.firm_a.insert("sms_messages", from_number=number, to_number="+41440000000", message_body="Hello",
                             direction="inbound", status="received")  # fmt: skip
    execute(runner, request_for(people.firm_a, people.contact_a, people))
    first, second = db.execute(
        "SELECT from_number, to_number, message_body FROM sms_messages ORDER BY id"
    ).fetchall()
    assert first[0].startswith("erased-")
    assert first[1:] == second[1:] == ("+41440000000", "Hello")
    assert second[0] == "+15550107700"
