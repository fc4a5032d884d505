"""The versions of schema `cp_ops`, applied by Alembic (which comes with Airflow).

    CP_OPS_DSN=postgresql://cp_ops@host/consultantpro python -m cp_ops.runtime.migrations upgrade

The DAG `cp_ops_migrate` does the same over the connection `cp_app`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import psycopg
from alembic.command import upgrade as alembic_upgrade
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from cp_ops.runtime.statements import INCLUDE

if TYPE_CHECKING:
    from collections.abc import Callable


def upgrade(connect: Callable[[], psycopg.Connection[Any]]) -> tuple[str | None, str | None]:
    """Bring schema cp_ops to the newest version, one transaction for all steps; gives the versions before and after.

    Several callers at once are serialised by an advisory lock. A database that is already there is left alone.

    :param connect: opens a connection whose role may create schema cp_ops, or owns it.
    """

    def creator() -> psycopg.Connection[Any]:
        connection = connect()
        connection.autocommit = False
        return connection

    engine = create_engine("postgresql+psycopg://", creator=creator, poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(INCLUDE / "migrations"))
    with engine.begin() as connection:
        # A waiting caller finds the newest version when its turn comes, and does nothing.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('cp_ops.migrations'))"))
        if connection.scalar(text("SELECT to_regnamespace('cp_ops')")) is None:
            connection.execute(text("CREATE SCHEMA cp_ops"))
        context = MigrationContext.configure(connection, opts={"version_table_schema": "cp_ops"})
        before = context.get_current_revision()
        config.attributes["connection"] = connection
        alembic_upgrade(config, "head")
        after = context.get_current_revision()
    engine.dispose()
    return before, after


def main(arguments: list[str]) -> int:
    """Run from the command line: `upgrade` with CP_OPS_DSN in the environment."""
    dsn = os.environ.get("CP_OPS_DSN", "")
    if arguments != ["upgrade"] or not dsn:
        sys.stderr.write("usage: CP_OPS_DSN=postgresql://... python -m cp_ops.runtime.migrations upgrade\n")
        return 2
    before, after = upgrade(lambda: psycopg.connect(dsn))
    sys.stdout.write(f"schema cp_ops: {before or 'none'} -> {after}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
