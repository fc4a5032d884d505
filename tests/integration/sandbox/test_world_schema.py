"""The sandbox's copy of the application's tables keeps the rules that the real ones keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from sandbox.world import World
from sandbox.world.rows import application_defaults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.application import ApplicationDatabase

APPLICATION = Path(__file__).parents[3] / "include" / "application"


UNPROTECTED = {
    "auth_user",
    "calendar_workflow_executions",
    "clients_contact",
    "crm_deal_alert",
    "crm_deal_alert_recipients",
    "crm_deals_team_members",
    "crm_pipeline_stages",
    "finance_mv_refresh_log",
    "firm_firm",
    "projects_expenses",
    "projects_tasks",
    "projects_time_entries",
    "user_profiles",
}


@pytest.fixture
def owner(app_db: ApplicationDatabase) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as conn:
        yield conn


def names(conn: psycopg.Connection[Any], statement: str) -> list[str]:
    return [row[0] for row in conn.execute(statement)]


def turn_on_row_level_security(owner: psycopg.Connection[Any]) -> None:
    owner.execute((APPLICATION / "optional_row_level_security.sql").read_text().encode())


def test_no_column_has_a_default_but_identity_keys(owner):
    with_default = names(
        owner,
        "SELECT table_name || '.' || column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_default IS NOT NULL",
    )
    identities = owner.execute(
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public' AND is_identity = 'YES'"
        " AND identity_generation = 'BY DEFAULT'"
    ).fetchone()

    assert with_default == []
    tables = names(owner, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert identities == (len(set(tables) - {"django_session"}),)


def test_every_foreign_key_is_deferrable_initially_deferred_and_without_cascade(owner):
    keys = owner.execute(
        "SELECT count(*), count(*) FILTER (WHERE condeferrable AND condeferred AND confdeltype = 'a'"
        " AND confupdtype = 'a') FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace"
    ).fetchone()

    assert keys is not None
    assert keys[0] == keys[1] > 300


def test_every_id_column_is_a_key_into_another_table_unless_it_is_an_outside_system_s_name(owner):
    loose = names(
        owner,
        "SELECT c.relname || '.' || a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
        " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attname LIKE '%\\_id'"
        " AND a.atttypid IN ('int4'::regtype, 'int8'::regtype) AND NOT EXISTS (SELECT FROM pg_constraint AS k"
        "   WHERE k.conrelid = c.oid AND k.contype IN ('f', 'p') AND k.conkey = ARRAY[a.attnum]) ORDER BY 1",
    )

    # As in the application: integers that it does not declare as keys.
    assert loose == [
        "core_purged_content.audit_event_id",
        "finance_mv_refresh_log.firm_id",
        "projects_tasks.instantiation_id",
        "projects_tasks.template_id",
    ]


def test_every_foreign_key_has_an_index_that_starts_with_its_column(owner):
    without = names(
        owner,
        "SELECT k.conrelid::regclass || '.' || a.attname FROM pg_constraint AS k"
        " JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]"
        " WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_index AS i"
        "   WHERE i.indrelid = k.conrelid AND i.indkey[0] = k.conkey[1]) ORDER BY 1",
    )

    assert without == []


def test_a_row_that_leaves_out_a_not_null_column_is_refused_by_name(owner):
    with pytest.raises(psycopg.errors.NotNullViolation, match="updated_at"):
        owner.execute("INSERT INTO crm_pipelines (firm_id, name, description, is_active, is_default, display_order,"
                      " created_at) VALUES (1, 'x', '', true, false, 0, now())")  # fmt: skip


def test_the_application_s_defaults_name_only_columns_that_exist(owner):
    columns = {
        (table, column)
        for table, column in owner.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND is_nullable = 'NO'"
        )
    }
    defaulted = {
        (table, column)
        for table, kinds in application_defaults().items()
        for column in [*kinds.get("now", ()), *kinds.get("blank", ()), *kinds.get("value", {})]
    }

    assert defaulted <= columns
    assert len(defaulted) > 700


def test_a_deferred_key_is_checked_at_commit(app_db):
    with psycopg.connect(app_db.owner_dsn) as conn:
        World(conn).insert("crm_pipelines", firm_id=404, name="of no firm")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            conn.commit()


def test_row_level_security_is_forced_on_exactly_the_tables_with_a_key_to_the_firm(owner):
    turn_on_row_level_security(owner)
    turn_on_row_level_security(owner)  # a second time changes nothing

    isolated = names(
        owner,
        "SELECT c.relname FROM pg_class AS c JOIN pg_policy AS p ON p.polrelid = c.oid"
        " WHERE c.relrowsecurity AND c.relforcerowsecurity AND p.polcmd = '*' AND p.polwithcheck IS NOT NULL",
    )
    keyed = names(
        owner,
        "SELECT k.conrelid::regclass::text FROM pg_constraint AS k JOIN pg_attribute AS a ON a.attrelid = k.conrelid"
        " AND a.attnum = k.conkey[1] WHERE k.contype = 'f' AND k.confrelid = 'firm_firm'::regclass"
        " AND a.attname = 'firm_id'",
    )

    assert sorted(isolated) == sorted(keyed)
    assert UNPROTECTED.isdisjoint(isolated)


def test_under_row_level_security_a_session_sees_its_firm_only_and_nothing_without_one(owner, app_db):
    world = World(owner)
    mine, theirs = world.firm(), world.firm()
    mine.client("Mine")
    theirs.client("Theirs")
    turn_on_row_level_security(owner)

    with psycopg.connect(app_db.rls_dsn, autocommit=True) as conn:
        assert names(conn, "SELECT company_name FROM clients_client") == []
        conn.execute("SELECT set_config('app.current_firm_id', %s, false)", [str(theirs.id)])
        assert names(conn, "SELECT company_name FROM clients_client") == ["Theirs"]
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            conn.execute("UPDATE clients_client SET firm_id = %s", [mine.id])
        conn.execute("RESET app.current_firm_id")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            conn.execute("SELECT FROM clients_client")
    with psycopg.connect(app_db.cp_ops_dsn) as conn:
        assert sorted(names(conn, "SELECT company_name FROM clients_client")) == ["Mine", "Theirs"]


def test_a_world_can_be_built_under_row_level_security(owner):
    turn_on_row_level_security(owner)
    world = World(owner)
    first, second = world.firm(), world.firm()

    clients = [first.client("One"), second.client("Two"), first.client("Three")]

    assert [client.row()["company_name"] for client in clients] == ["One", "Two", "Three"]
    assert clients[1].row()["firm_id"] == second.id


def test_the_jobs_roles_change_rows_but_not_tables(app_db, owner):
    firm = World(owner).firm()
    for dsn in (app_db.cp_ops_dsn, app_db.rls_dsn):
        with psycopg.connect(dsn, autocommit=True) as conn:
            pipeline = World(conn).insert("crm_pipelines", firm_id=firm.id, name=dsn[-40:])
            conn.execute("UPDATE crm_pipelines SET description = 'x' WHERE id = %s", [pipeline])
            conn.execute("DELETE FROM crm_pipelines WHERE id = %s", [pipeline])
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute("ALTER TABLE crm_pipelines ADD COLUMN mine text")


def test_the_application_s_revenue_view_multiplies_its_sums(owner):
    firm = World(owner).firm()
    client, user = firm.client(), firm.user()
    project = client.project()
    client.invoice("100.00", paid="100.00", project_id=project.id)
    project.time_entry(user, hours="1.00", rate="10.00")
    project.time_entry(user, hours="1.00", rate="10.00")

    owner.execute("REFRESH MATERIALIZED VIEW mv_revenue_by_project_month")

    revenue = owner.execute(
        "SELECT sum(total_revenue), sum(labor_cost) FROM mv_revenue_by_project_month"
    ).fetchone()
    assert revenue == (200, 20)  # one invoice of 100, counted once per time entry
    unique = owner.execute(
        "SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid WHERE c.relkind = 'm' AND indisunique"
    ).fetchone()
    assert unique == (0,)
