"""ConsultantPro itself, as far as the jobs see it: its database, schema cp_ops beside it, and the demo world."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from sandbox import application
from sandbox.service import LOOPBACK, Service, Status
from sandbox.services.postgres import PostgresServer
from sandbox.services.s3 import S3Server

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.supervisor import Sandbox

DATABASE = "consultantpro"
KMS_KEY_ID = "sandbox-default-firm-key"
FRONTEND_URL = "https://app.consultantpro.example"
_SEEDED = "seeded"


class Application(Service):
    """The application's database. It has no process: running means that its tables and rows are there."""

    name: ClassVar[str] = "application"
    after: ClassVar[tuple[str, ...]] = ("postgres", "s3")

    def __init__(
        self,
        directory: Path,
        server: PostgresServer,
        passwords: dict[str, str],
        world_environment: dict[str, str],
    ) -> None:
        super().__init__(directory)
        self._server = server
        self._passwords = passwords
        self._world_environment = world_environment

    @classmethod
    @override
    def in_sandbox(cls, sandbox: Sandbox) -> Self:
        s3 = sandbox.service(S3Server)
        master_key = sandbox.secret("local_kms_master_key")
        return cls(
            sandbox.directory(cls.name),
            sandbox.service(PostgresServer),
            {role: sandbox.secret(f"role_{role}") for role in application.ROLES},
            s3.environment()
            | {
                "AIRFLOW__CP_OPS__FRONTEND_URL": FRONTEND_URL,
                "AIRFLOW__CP_OPS__DEFAULT_FROM_EMAIL": "no-reply@consultantpro.example",
                "AIRFLOW__CP_OPS__KMS_BACKEND": "local",
                "AIRFLOW__CP_OPS__DEFAULT_FIRM_KMS_KEY_ID": KMS_KEY_ID,
                # The local S3 knows no older objects: without a grace the demo's orphan is found at once.
                "AIRFLOW__CP_OPS__S3_ORPHAN_GRACE_HOURS": "0",
                "AIRFLOW_CONN_CP_KMS": json.dumps({"conn_type": "generic", "password": master_key}),
                "CP_OPS_LOCAL_KMS_MASTER_KEY": master_key,
                "SCALE": sandbox.setting("SCALE", "1"),
            },
        )

    @property
    def database(self) -> application.ApplicationDatabase:
        """The database's names and connection strings."""
        return application.application_database(self._server, DATABASE, self._passwords)

    @override
    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        application.start_application_database(self._server, DATABASE, self._passwords)
        printed = application.run_module("sandbox.world", "seed", environment=self.environment())
        (self.directory / _SEEDED).write_text(printed, encoding="utf-8")

    def stop(self) -> None:
        """Do nothing: the database stops with its server."""

    @override
    def status(self) -> Status:
        if self._server.status().running and self._server.database_exists(DATABASE):
            return Status(running=True, detail=f"database {DATABASE} at {LOOPBACK}:{self._server.port}")
        return Status(running=False, detail="no database")

    @override
    def logs(self, lines: int = 50) -> str:
        try:
            return "\n".join((self.directory / _SEEDED).read_text(encoding="utf-8").splitlines()[-lines:])
        except OSError:
            return ""

    @override
    def environment(self) -> dict[str, str]:
        database = self.database
        connection = {
            "conn_type": "postgres",
            "host": LOOPBACK,
            "port": self._server.port,
            "login": application.JOBS,
            "password": self._passwords[application.JOBS],
            "schema": DATABASE,
        }
        return self._world_environment | {
            "AIRFLOW_CONN_CP_APP": json.dumps(connection),
            "CP_OPS_DSN": database.cp_ops_dsn,
            "CP_OPS_RLS_DSN": database.rls_dsn,
            "CP_OPS_WORLD_DSN": database.owner_dsn,
        }
