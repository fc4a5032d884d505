"""Airflow connections, looked up in one place.

Airflow says "not found" of a connection that nobody defined and of one that its API server or secrets backend did not give
just now. So a missing connection is an error that is tried again, and says both.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from cp_ops.runtime.errors import ConnectionInvalidError, ConnectionMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Connection


def connection(conn_id: str, definition: str) -> Connection:
    """Look a connection up.

    :param definition: what it should be, such as "its host is the mail server".
    :raises ConnectionMissingError: when it is not defined, or cannot be read.
    """
    with missing_connection(conn_id, definition):
        return BaseHook.get_connection(conn_id)


def optional_connection(conn_id: str) -> Connection | None:
    """Look up a connection that a deployment need not have; None when it is not defined, or cannot be read."""
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None


@contextmanager
def missing_connection(conn_id: str | None, definition: str) -> Iterator[None]:
    """Say what a connection should be when a hook of a provider does not find it.

    :param conn_id: None keeps the id out of the message, where it may be a secret that somebody put in its place.
    :raises ConnectionMissingError: when it is not defined, or cannot be read.
    """
    try:
        yield
    except AirflowNotFoundException:
        raise ConnectionMissingError(conn_id, definition) from None


def extra_of(found: Connection, *, invalid: str) -> dict[str, Any]:
    """Give a connection's extra.

    :param invalid: the message when it is no JSON object.
    :raises ConnectionInvalidError: when it is no JSON object.
    """
    try:
        return dict(found.extra_dejson)
    except (TypeError, ValueError):
        raise ConnectionInvalidError(invalid) from None
