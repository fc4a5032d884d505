"""What the tests of check_stale_deals read: a deal's alerts, who was told, everything of a firm."""

from __future__ import annotations

import psycopg


def alerts(owner, deal, *, open_only=True):
    """The deal's alerts, oldest first."""
    condition = "AND NOT is_dismissed" if open_only else ""
    with owner.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(
            f"SELECT * FROM crm_deal_alert WHERE deal_id = %s {condition} ORDER BY id", [deal.id]
        ).fetchall()


def types(owner, deal):
    return [alert["alert_type"] for alert in alerts(owner, deal)]


def recipients(owner, deal):
    rows = owner.execute(
        "SELECT user_id FROM crm_deal_alert_recipients WHERE dealalert_id IN"
        " (SELECT id FROM crm_deal_alert WHERE deal_id = %s) ORDER BY user_id",
        [deal.id],
    )
    return [row[0] for row in rows]


def everything_of(owner, firm):
    """Every row that belongs to a firm and that this job could reach."""
    scoped = ("crm_deals", "firm_membership", "firm_audit_events", "crm_pipelines")
    found = {
        table: owner.execute(
            f"SELECT t::text FROM {table} AS t WHERE firm_id = %s ORDER BY id", [firm.id]
        ).fetchall()
        for table in scoped
    }
    of_deals = "SELECT id FROM crm_deals WHERE firm_id = %s"
    for table, condition in (
        ("crm_deal_alert", f"deal_id IN ({of_deals})"),
        ("crm_deals_team_members", f"deal_id IN ({of_deals})"),
        (
            "crm_deal_alert_recipients",
            f"dealalert_id IN (SELECT id FROM crm_deal_alert WHERE deal_id IN ({of_deals}))",
        ),
    ):
        found[table] = owner.execute(
            f"SELECT t::text FROM {table} AS t WHERE {condition} ORDER BY id", [firm.id]
        ).fetchall()
    return found
