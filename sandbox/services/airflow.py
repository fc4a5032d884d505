"""Airflow: scheduler, DAG processor, triggerer and API server of this virtual environment, on PostgreSQL."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from sandbox.service import LOOPBACK, REPOSITORY, ManagedProcess, Service, ServiceError, Status
from sandbox.services.postgres import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sandbox.supervisor import Sandbox

DATABASE = "airflow"
ROLE = "airflow"
_START_SECONDS = 180.0
_ANSWER_SECONDS = 20.0
_COMPONENTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
_WATCHED_BY_HEALTH = ("metadatabase", "scheduler", "dag_processor", "triggerer")


class Airflow(Service):
    """A whole Airflow. Its four processes share one configuration, which is the sandbox's environment."""

    name: ClassVar[str] = "airflow"
    after: ClassVar[tuple[str, ...]] = ("postgres",)

    def __init__(self, directory: Path, sandbox: Sandbox) -> None:
        super().__init__(directory)
        self._sandbox = sandbox
        self._server = sandbox.service(PostgresServer)
        self.processes = {name: ManagedProcess(name, directory, grace=15) for name in _COMPONENTS}

    @classmethod
    @override
    def in_sandbox(cls, sandbox: Sandbox) -> Self:
        return cls(sandbox.directory(cls.name), sandbox)

    @property
    def port(self) -> int:
        """The port of the API server."""
        return self._sandbox.port(self.name)

    @property
    def base_url(self) -> str:
        """Where the UI and the REST API are."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def dags_folder(self) -> Path:
        """The folder of the DAG files."""
        return Path(self._sandbox.setting("CP_OPS_DAGS_FOLDER", str(REPOSITORY / "dags")))

    @override
    def start(self) -> None:
        if all(process.running() for process in self.processes.values()) and self._recovers_within(
            _ANSWER_SECONDS
        ):
            return
        self.stop()
        self.directory.mkdir(parents=True, exist_ok=True)
        environment = {**_inherited_environment(), **self._sandbox.environment()}
        self._create_database()
        self._migrate(environment)
        for name, arguments in _COMPONENTS.items():
            self.processes[name].spawn([sys.executable, "-m", "airflow", *arguments], environment=environment)
        self._wait_until_healthy()

    @override
    def stop(self) -> None:
        with ThreadPoolExecutor(max_workers=len(self.processes)) as pool:
            list(pool.map(ManagedProcess.stop, self.processes.values()))

    @override
    def status(self) -> Status:
        stopped = [name for name, process in self.processes.items() if not process.running()]
        if len(stopped) == len(self.processes):
            return Status(running=False, detail="stopped")
        if stopped:
            return Status(running=False, detail=f"{', '.join(stopped)} not running")
        unhealthy = self._unhealthy()
        if unhealthy:
            return Status(running=False, detail=f"{self.base_url}: {', '.join(unhealthy)} not healthy")
        return Status(running=True, detail=self.base_url)

    @override
    def logs(self, lines: int = 50) -> str:
        return "\n".join(
            f"==> {process.log_path} <==\n{process.log_tail(lines)}" for process in self.processes.values()
        )

    @override
    def environment(self) -> dict[str, str]:
        schedules = self._sandbox.setting("CP_OPS_SCHEDULES", "off").lower() in {"1", "on", "true", "yes"}
        options: Mapping[str, Mapping[str, object]] = {
            "core": {
                "dags_folder": self.dags_folder,
                "plugins_folder": REPOSITORY / "plugins",
                "load_examples": False,
                "executor": "LocalExecutor",
                "parallelism": 4,
                "dags_are_paused_at_creation": True,
                "simple_auth_manager_all_admins": True,
                "execution_api_server_url": f"{self.base_url}/execution/",
                "fernet_key": self._sandbox.secret("fernet_key", _fernet_key),
                "default_timezone": "utc",
            },
            "database": {
                "sql_alchemy_conn": self._server_dsn().replace("postgresql://", "postgresql+psycopg2://", 1),
            },
            "api": {
                "host": LOOPBACK,
                "port": self.port,
                "workers": 1,
                "base_url": self.base_url,
                "secret_key": self._sandbox.secret("api_secret_key"),
            },
            "api_auth": {"jwt_secret": self._sandbox.secret("jwt_secret", lambda: secrets.token_urlsafe(64))},
            "scheduler": {"use_job_schedule": schedules},
            "dag_processor": {
                "refresh_interval": 10,
                "min_file_process_interval": 10,
                "parsing_processes": 2,
            },
            "logging": {"colored_console_log": False},
        }
        overrides = json.loads(self._sandbox.setting("CP_OPS_AIRFLOW_OPTIONS", "{}"))
        return {"AIRFLOW_HOME": str(self.directory)} | {
            f"AIRFLOW__{section.upper()}__{name.upper()}": str(value)
            for section, values in (*options.items(), *overrides.items())
            for name, value in values.items()
        }

    def _server_dsn(self) -> str:
        return self._server.dsn(DATABASE, ROLE, self._sandbox.secret(f"role_{ROLE}"))

    def _create_database(self) -> None:
        self._server.create_role(ROLE, self._sandbox.secret(f"role_{ROLE}"))
        if not self._server.database_exists(DATABASE):
            self._server.create_database(DATABASE, owner=ROLE)

    def _migrate(self, environment: Mapping[str, str]) -> None:
        self._airflow(["db", "migrate"], environment)
        self._airflow(["pools", "import", str(REPOSITORY / "include" / "pools.json")], environment)

    def _airflow(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        log_path = self.directory / f"{command[0]}.log"
        with log_path.open("wb") as log:
            answer = subprocess.run(
                [sys.executable, "-m", "airflow", *command],
                env=dict(environment),
                cwd=self.directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if answer.returncode != 0:
            tail = "\n".join(log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])
            raise ServiceError(f"airflow {' '.join(command)} failed; its log {log_path} ends with:\n{tail}")

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while unhealthy := self._unhealthy():
            for process in self.processes.values():
                if not process.running():
                    self.stop()
                    raise ServiceError(
                        f"airflow {process.name} ended while starting; its log {process.log_path} ends with:\n"
                        f"{process.log_tail()}"
                    )
            if time.monotonic() > deadline:
                logs = self.logs(10)
                self.stop()
                raise ServiceError(
                    f"airflow: {', '.join(unhealthy)} not healthy after {_START_SECONDS:.0f} s\n{logs}"
                )
            time.sleep(0.3)

    def _recovers_within(self, seconds: float) -> bool:
        """Give a running Airflow the time to answer: a busy machine is no reason to restart it."""
        deadline = time.monotonic() + seconds
        while self._unhealthy():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def _unhealthy(self) -> list[str]:
        """Return the components that Airflow's own health page does not call healthy."""
        try:
            with urllib.request.urlopen(f"{self.base_url}/api/v2/monitor/health", timeout=5) as answer:  # noqa: S310
                health = json.load(answer)
        except (urllib.error.URLError, OSError, ValueError):
            return ["api-server"]
        return [name for name in _WATCHED_BY_HEALTH if (health.get(name) or {}).get("status") != "healthy"]


def _inherited_environment() -> dict[str, str]:
    """Return the caller's environment without what would make this Airflow another one."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONPATH" and (not name.startswith("AIRFLOW") or name.startswith("AIRFLOW__CP_OPS__"))
    }


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
