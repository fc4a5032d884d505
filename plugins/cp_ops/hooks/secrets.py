"""Passwords that a run needs, from Airflow connections (any secrets backend)."""

from __future__ import annotations

from airflow.sdk import BaseHook

from cp_ops.hooks.connections import missing_connection
from cp_ops.runtime.errors import ConnectionInvalidError


def connection_password(conn_id: str, *, named_by: str) -> str:
    """Give a connection's password; Airflow masks it in the task's log from here on.

    :param named_by: the option that named the connection; the id itself stays out of the message, as somebody may
        have put the password there.
    :raises ConnectionMissingError: when the connection is not defined, or cannot be read.
    :raises ConnectionInvalidError: when it has no password.
    """
    with missing_connection(None, f"option {named_by} names it"):
        password = BaseHook.get_connection(conn_id).password
    if not password:
        raise ConnectionInvalidError(f"{named_by}: the Airflow connection of this id has no password")
    return str(password)
