"""Alembic's entry: runs the versions on the connection that `cp_ops.runtime.migrations.upgrade` hands over."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema="cp_ops")
with context.begin_transaction():
    context.run_migrations()
