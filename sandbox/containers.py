"""`python -m sandbox.containers`: what the one-shot container `world` of docker-compose.yaml does.

It makes the roles, the databases of Airflow and of the application, the application's tables, schema cp_ops and the
demo world, at Stripe and on the Solana node too. It may run again: what is there stays, and S3, which forgets its
objects when it stops, is filled again.

Environment: POSTGRES_HOST, POSTGRES_PORT (5432), the passwords that `PASSWORDS` and `_airflow` name, STRIPE_URL,
SOLANA_URL, SOLANA_WALLET_KEY, and what `python -m sandbox.world` reads.
"""

from __future__ import annotations

import os
import secrets
import sys

from sandbox import application
from sandbox.cluster import Cluster, RemoteCluster
from sandbox.processes import ServiceError
from sandbox.services import airflow
from sandbox.services.application import DATABASE
from sandbox.services.solana_payments import fill_payment_tables
from sandbox.services.stripe import fill_account

PASSWORDS = {
    application.OWNER: "CONSULTANTPRO_DB_PASSWORD",
    application.JOBS: "CP_OPS_DB_PASSWORD",
}
"""Which variable holds a role's password; a role that is not named here gets one that nobody knows."""


def make_world() -> str:
    """Make everything that is missing and return what was planted, as JSON."""
    server = RemoteCluster(
        _required("POSTGRES_HOST"),
        int(os.environ.get("POSTGRES_PORT", "5432")),
        _required("POSTGRES_PASSWORD"),
    )
    passwords = {
        role: _required(PASSWORDS[role]) if role in PASSWORDS else secrets.token_urlsafe(32)
        for role in application.ROLES
    }
    _airflow(server)
    database = application.start_application_database(server, DATABASE, passwords)
    planted = application.run_module(
        "sandbox.world", "seed", environment={"CP_OPS_WORLD_DSN": database.owner_dsn}
    )
    fill_account(_required("STRIPE_URL"), database)
    fill_payment_tables(database, _required("SOLANA_URL"), _required("SOLANA_WALLET_KEY"))
    return planted


def _airflow(server: Cluster) -> None:
    server.create_role(airflow.ROLE, _required("AIRFLOW_DB_PASSWORD"))
    if not server.database_exists(airflow.DATABASE):
        server.create_database(airflow.DATABASE, owner=airflow.ROLE)


def _required(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise ServiceError(f"variable {variable} is not set")
    return value


def main() -> int:
    """Run the command line and return its exit status."""
    try:
        print(make_world())
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
