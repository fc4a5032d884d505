"""A running PostgreSQL cluster as its superuser sees it: roles and databases, wherever the server runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from typing_extensions import override

if TYPE_CHECKING:
    import psycopg

SUPERUSER = "postgres"


class Cluster(ABC):
    """What the sandbox does with a cluster once it runs."""

    @property
    @abstractmethod
    def host(self) -> str:
        """The host that it listens on."""

    @property
    @abstractmethod
    def port(self) -> int:
        """The port that it listens on."""

    @property
    @abstractmethod
    def password(self) -> str:
        """The superuser's password."""

    def dsn(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """Return a connection URI; the password may be omitted for the superuser only."""
        if password is None:
            if user != SUPERUSER:
                raise ValueError(f"the password of role {user} is not known here")
            password = self.password
        return f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@{self.host}:{self.port}/{quote(database)}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Connect as the superuser in autocommit mode."""
        import psycopg

        return psycopg.connect(self.dsn(database), autocommit=True, connect_timeout=5)

    def create_role(self, name: str, password: str, *, bypass_row_level_security: bool = False) -> None:
        """Create a role that may log in, no superuser, or give the existing one this password."""
        from psycopg import sql

        with self.connect() as connection:
            exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
            connection.execute(
                sql.SQL("{} ROLE {} LOGIN NOSUPERUSER {} PASSWORD {}").format(
                    sql.SQL("ALTER" if exists else "CREATE"),
                    sql.Identifier(name),
                    sql.SQL("BYPASSRLS" if bypass_row_level_security else "NOBYPASSRLS"),
                    sql.Literal(password),
                )
            )

    def create_database(self, name: str, *, template: str | None = None, owner: str | None = None) -> None:
        """Create a database, as a copy of `template` if given (nobody may be connected to it)."""
        from psycopg import sql

        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template:
            # Copying files is faster than writing every page of the copy to the log, as nothing is synced here.
            statement += sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template))
        if owner:
            statement += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
        with self.connect() as connection:
            connection.execute(statement)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, closing the connections to it."""
        from psycopg import sql

        with self.connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def database_exists(self, name: str) -> bool:
        """Tell whether the cluster has a database of this name."""
        with self.connect() as connection:
            row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        return row is not None


@dataclass(frozen=True)
class RemoteCluster(Cluster):
    """A cluster that somebody else started, such as the container `postgres`."""

    at_host: str
    at_port: int
    superuser_password: str

    @property
    @override
    def host(self) -> str:
        return self.at_host

    @property
    @override
    def port(self) -> int:
        return self.at_port

    @property
    @override
    def password(self) -> str:
        return self.superuser_password
