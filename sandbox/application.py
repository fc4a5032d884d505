"""ConsultantPro's database: the roles, the application's tables from `include/application/`, schema cp_ops."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.processes import ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.cluster import Cluster

REPOSITORY = Path(__file__).resolve().parent.parent
APPLICATION_SQL = REPOSITORY / "include" / "application"

OWNER = "consultantpro"
JOBS = "cp_ops"
JOBS_UNDER_RLS = "cp_ops_rls"
ROLES = (OWNER, JOBS, JOBS_UNDER_RLS)
REPORTING_VIEWS = (
    "mv_revenue_by_project_month",
    "mv_utilization_by_user_week",
    "mv_utilization_by_project_month",
)
FIRST_WITH_MAINTAIN = 170000
"""The server version whose privilege MAINTAIN lets others than the owner refresh a view."""


@dataclass(frozen=True)
class ApplicationDatabase:
    """One ConsultantPro database, seen by each of its three roles."""

    name: str
    owner_dsn: str
    cp_ops_dsn: str
    rls_dsn: str


def create_roles(server: Cluster, passwords: Mapping[str, str]) -> None:
    """Create the login roles, or give existing ones these passwords.

    `cp_ops` bypasses row-level security and owns schema cp_ops; `cp_ops_rls` has the same rights as its member
    but is subject to the policies, as BYPASSRLS is not inherited.
    """
    from psycopg import sql

    for role in ROLES:
        server.create_role(role, passwords[role], bypass_row_level_security=role == JOBS)
    with server.connect() as connection:
        connection.execute(
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(JOBS), sql.Identifier(JOBS_UNDER_RLS))
        )
        if connection.info.server_version < FIRST_WITH_MAINTAIN:
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(JOBS), sql.Identifier(OWNER)))


def application_database(server: Cluster, name: str, passwords: Mapping[str, str]) -> ApplicationDatabase:
    """Return the connection strings of database `name`, which need not exist yet."""
    return ApplicationDatabase(
        name=name,
        owner_dsn=server.dsn(name, OWNER, passwords[OWNER]),
        cp_ops_dsn=server.dsn(name, JOBS, passwords[JOBS]),
        rls_dsn=server.dsn(name, JOBS_UNDER_RLS, passwords[JOBS_UNDER_RLS]),
    )


def create_application_database(
    server: Cluster,
    name: str,
    passwords: Mapping[str, str],
    *,
    template: str | None = None,
) -> ApplicationDatabase:
    """Create database `name` with the application's tables and schema cp_ops, or as a copy of `template`."""
    server.create_database(name, template=template, owner=OWNER)
    database = application_database(server, name, passwords)
    _grant_database(server, name)
    if template is None:
        create_application_tables(database)
        _let_jobs_refresh_views(server, name)
        upgrade_cp_ops(database)
    return database


def start_application_database(
    server: Cluster, name: str, passwords: Mapping[str, str]
) -> ApplicationDatabase:
    """Create the roles and database `name` where they are missing, and bring schema cp_ops up to date."""
    create_roles(server, passwords)
    if not server.database_exists(name):
        return create_application_database(server, name, passwords)
    database = application_database(server, name, passwords)
    upgrade_cp_ops(database)
    return database


def _grant_database(server: Cluster, name: str) -> None:
    """Let the jobs' role make its schema: rights on a database do not travel with a template."""
    from psycopg import sql

    with server.connect() as connection:
        connection.execute(
            sql.SQL("GRANT CREATE, TEMPORARY ON DATABASE {} TO {}").format(
                sql.Identifier(name), sql.Identifier(JOBS)
            )
        )


def _let_jobs_refresh_views(server: Cluster, name: str) -> None:
    """Before PostgreSQL 17, which has a privilege for it (see 90_grants.sql), only a view's owner can refresh it.

    The tables' owner is a member of the jobs' role there, and so goes on managing the views.
    """
    with server.connect(name) as connection:
        if connection.info.server_version >= FIRST_WITH_MAINTAIN:
            return
        connection.execute(f"GRANT CREATE ON SCHEMA public TO {JOBS}")
        for view in REPORTING_VIEWS:
            connection.execute(f"ALTER MATERIALIZED VIEW {view} OWNER TO {JOBS}")


def create_application_tables(database: ApplicationDatabase) -> None:
    """Apply `include/application/*.sql` in the order of their names, without those named optional_*, as owner."""
    import psycopg

    with psycopg.connect(database.owner_dsn) as connection:
        connection.execute(
            f"""
            GRANT USAGE ON SCHEMA public TO {JOBS};
            ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {JOBS};
            ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {JOBS};
            """
        )
        for script in sorted(APPLICATION_SQL.glob("*.sql")):
            if script.name.startswith("optional_"):
                continue
            try:
                connection.execute(script.read_text(encoding="utf-8").encode())
            except psycopg.Error as error:
                raise ServiceError(f"include/application/{script.name}: {error}") from error


def upgrade_cp_ops(database: ApplicationDatabase) -> None:
    """Bring schema cp_ops to its newest version, as a deployment does (`make migrate`)."""
    run_module("cp_ops.runtime.migrations", "upgrade", environment={"CP_OPS_DSN": database.cp_ops_dsn})


def run_module(module: str, *arguments: str, environment: Mapping[str, str]) -> str:
    """Run `python -m module` at the repository's root with plugins/ importable; return what it printed.

    Raises ServiceError with the end of its output when it fails.
    """
    answer = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'plugins'}{os.pathsep}{REPOSITORY}", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        excerpt = "\n".join(answer.stdout.splitlines()[-25:])
        raise ServiceError(f"python -m {module} {' '.join(arguments)} failed:\n{excerpt}")
    return answer.stdout
