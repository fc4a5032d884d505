"""process_recurring_charges as a DAG: issue, then collect; what one task cannot do does not stop the other."""

from __future__ import annotations

import psycopg


def test_invoices_that_cannot_be_issued_do_not_keep_the_others_from_being_collected(
    run_dag, demo_world, app_db, stripe
):
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
        connection.execute("UPDATE firm_firm SET currency = 'XXX' WHERE id = 1")
    ran = run_dag("process_recurring_charges")
    assert ran.state == "failed"
    assert ran.tasks == {"issue_invoices": "success", "collect": "failed"}
    assert ran.outcomes["issue_invoices"]["failed"] == 1
    assert ran.outcomes["collect"]["done_kinds"]["charged"] == 2
    assert len(stripe.ledger) == 2


def test_a_wrong_option_stops_both_tasks_before_anything_is_issued(run_dag, demo_world, app_db, stripe):
    ran = run_dag("process_recurring_charges", max_total="lots")
    assert ran.state == "failed"
    with psycopg.connect(app_db.owner_dsn) as connection:
        issued = connection.execute(
            "SELECT count(*) FROM finance_invoices WHERE invoice_number LIKE 'PKG-%'"
        ).fetchone()
    assert issued == (0,)
    assert sum(stripe.calls.received.values()) == 0


def test_no_task_shows_a_key_or_an_address(run_dag, demo_world, stripe, capfd):
    ran = run_dag("process_recurring_charges")
    text = "".join(capfd.readouterr()) + str(ran.outcomes)
    assert stripe.key not in text
    assert "_secret_" not in text
    assert "robin@client.example" not in text
