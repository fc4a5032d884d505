"""The application's database, through the connection `cp_app`."""

from __future__ import annotations

from typing import Any

import psycopg
from airflow.providers.postgres.hooks.postgres import PostgresHook

from cp_ops.hooks.connections import missing_connection
from cp_ops.runtime.errors import ConnectionInvalidError, translate

DEFINITION = "its type is postgres, it points at ConsultantPro's database (README, Connections)"
LOCK_TIMEOUT_SECONDS = 30
"""A statement waits at most this long for a lock of the application; then the row or the batch is retried."""


class ApplicationDbHook(PostgresHook):
    """Connect to ConsultantPro's database with psycopg 3, as the provider's connection says.

    The connection must reach PostgreSQL itself or a pooler in session mode: temporary tables and the settings below
    belong to a session.

    :param conn_id: an Airflow connection of type postgres.
    :param application_name: shown in pg_stat_activity; the task's name.
    :param statement_timeout: seconds, for the server: its own limit, should nobody be left to cancel the statement.
    """

    default_conn_name = "cp_app"

    def __init__(
        self, conn_id: str = default_conn_name, *, application_name: str, statement_timeout: float
    ) -> None:
        super().__init__(postgres_conn_id=conn_id)
        self.application_name = application_name
        self.statement_timeout = statement_timeout

    def connect(self) -> psycopg.Connection[Any]:
        """Open a connection in autocommit mode; transactions are opened where they are meant.

        :raises ConnectionMissingError: when the connection is not defined, or cannot be read.
        :raises DatabaseUnavailableError: when the database cannot be reached.
        """
        try:
            with missing_connection(self.get_conn_id(), DEFINITION):
                connection: Any = self.get_conn()
        except psycopg.Error as error:
            raise translate(error, doing=f"connection {self.get_conn_id()}") from None
        if not isinstance(connection, psycopg.Connection):
            raise ConnectionInvalidError(
                "the postgres provider does not use psycopg 3: install psycopg[binary]"
            )
        # The runtime opens transactions where it means to. An implicit one would hold its locks unseen.
        connection.autocommit = True
        connection.prepare_threshold = 5
        with connection.cursor() as cursor:
            cursor.execute(
                b"SELECT set_config('application_name', %s, false), set_config('statement_timeout', %s, false),"
                b" set_config('lock_timeout', %s, false), set_config('timezone', 'UTC', false)",
                (
                    self.application_name[:63],
                    f"{int(self.statement_timeout * 1000)}ms",
                    f"{LOCK_TIMEOUT_SECONDS}s",
                ),
            )
        return connection
