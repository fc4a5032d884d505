"""PostgreSQL: a private cluster on a free port of 127.0.0.1, with a password, never as root."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from sandbox.cluster import SUPERUSER, Cluster
from sandbox.postgres_binaries import (
    Account,
    create_private_directory,
    find_binaries,
    reachable_binaries,
    remove_private_directory,
    server_environment,
)
from sandbox.processes import die_with_parent
from sandbox.service import LOOPBACK, ManagedProcess, Service, ServiceError, Status, free_port

if TYPE_CHECKING:
    from sandbox.supervisor import Sandbox

_START_SECONDS = 30.0
_PORT_ATTEMPTS = 3
_FIRST_WITH_BUILTIN_LOCALE = 17
_SETTINGS = {
    "listen_addresses": f"'{LOOPBACK}'",
    "unix_socket_directories": "''",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_min_duration_statement": "'1s'",
    "log_lock_waits": "on",
    "log_line_prefix": "'%m [%p] %q%u@%d %a '",
    "max_wal_size": "1GB",
    "jit": "off",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresServer(Cluster, Service):
    """A PostgreSQL cluster of our own.

    `durable=False` trades survival of a power cut for speed. `dies_with_parent=True` is for tests: the server
    shuts down when the process that started it ends, however it ends (Linux).
    """

    name: ClassVar[str] = "postgres"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        durable: bool = False,
        dies_with_parent: bool = False,
    ) -> None:
        super().__init__(directory)
        self._fixed_port = port
        self._durable = durable
        self._dies_with_parent = dies_with_parent
        self.process = ManagedProcess("postgres", directory, stop_signal=signal.SIGINT, grace=15)

    @classmethod
    @override
    def in_sandbox(cls, sandbox: Sandbox) -> Self:
        return cls(sandbox.directory(cls.name), port=sandbox.port(cls.name))

    @property
    @override
    def host(self) -> str:
        return LOOPBACK

    @property
    @override
    def port(self) -> int:
        """The port on 127.0.0.1. Raises ServiceError before the first start of a server with no fixed port."""
        if self._fixed_port is not None:
            return self._fixed_port
        return int(self._remembered("port"))

    @property
    @override
    def password(self) -> str:
        return self._remembered("password")

    @override
    def start(self) -> None:
        if self.process.running() and self._answers():
            return
        self.process.stop()
        self.directory.mkdir(parents=True, exist_ok=True)
        account = Account.current_or_unprivileged()
        binaries, data = self._place(account)
        if not (data / "PG_VERSION").exists():
            self._initialise(account, binaries, data)
        attempts = _PORT_ATTEMPTS if self._fixed_port is None else 1
        for attempt in range(1, attempts + 1):
            self._remember("port", str(self._fixed_port or free_port()))
            try:
                self._launch(account, binaries, data)
            except ServiceError:
                if attempt == attempts or "Address already in use" not in self.process.log_tail():
                    raise
            else:
                return

    @override
    def stop(self) -> None:
        self.process.stop()

    def remove(self) -> None:
        """Stop the server and delete its data, wherever they are."""
        self.stop()
        private = self._private_directory()
        if private is not None:
            remove_private_directory(private)
        shutil.rmtree(self.directory, ignore_errors=True)

    @override
    def status(self) -> Status:
        if self.process.running() and self._answers():
            return Status(running=True, detail=f"{LOOPBACK}:{self.port}")
        return Status(running=False, detail="stopped")

    @override
    def logs(self, lines: int = 50) -> str:
        return self.process.log_tail(lines)

    def binaries(self) -> Path:
        """Return the directory of the programs of this server (psql may or may not be there)."""
        return find_binaries()

    def _place(self, account: Account) -> tuple[Path, Path]:
        """Choose where programs and data are, moving both aside when `account` cannot reach the directory."""
        private = self._private_directory()
        data = (private or self.directory) / "data"
        if private is None and account.uid is not None:
            found = find_binaries()
            if not account.reaches(self.directory) or not _runs(found, account):
                private = create_private_directory(self.directory)
                self._remember("private_directory", str(private))
                data = private / "data"
        if not data.exists():
            data.mkdir(mode=0o700)
            account.own(data)
        return reachable_binaries(find_binaries(), account, private), data

    def _initialise(self, account: Account, binaries: Path, data: Path) -> None:
        self._remember("password", secrets.token_urlsafe(24))
        password_file = data.parent / "initial-password"
        password_file.touch(mode=0o600)
        try:
            password_file.write_text(self.password, encoding="utf-8")
            account.own(password_file)
            answer = account.run(
                binaries / "initdb",
                *("--pgdata", data, "--username", SUPERUSER, "--pwfile", password_file),
                *("--auth", "scram-sha-256", "--no-sync", "--no-instructions"),
                *("--encoding", "UTF8", *_locale_options(account, binaries)),
                cwd=data.parent if account.reaches(data.parent) else None,
            )
        finally:
            password_file.unlink()
        if answer.returncode != 0:
            shutil.rmtree(data, ignore_errors=True)
            raise ServiceError(f"initdb failed:\n{answer.stdout}{answer.stderr}")
        settings = _SETTINGS | ({} if self._durable else _NOT_DURABLE)
        with (data / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def _launch(self, account: Account, binaries: Path, data: Path) -> None:
        self.process.spawn(
            [binaries / "postgres", "-D", data, "-p", str(self.port)],
            environment=server_environment(),
            cwd=data.parent,
            user=account.uid,
            group=account.gid,
            preexec=die_with_parent(signal.SIGINT) if self._dies_with_parent else None,
        )
        self.process.wait_until(self._answers, seconds=_START_SECONDS)

    def _answers(self) -> bool:
        import psycopg

        try:
            with self.connect() as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _private_directory(self) -> Path | None:
        try:
            path = Path(self._remembered("private_directory"))
        except ServiceError:
            return None
        return path if path.is_dir() else None

    def _remembered(self, what: str) -> str:
        try:
            return (self.directory / what).read_text(encoding="utf-8")
        except OSError as error:
            raise ServiceError(f"PostgreSQL in {self.directory} was never started: {error}") from error

    def _remember(self, what: str, value: str) -> None:
        path = self.directory / what
        path.touch(mode=0o600)
        path.write_text(value, encoding="utf-8")


def _locale_options(account: Account, binaries: Path) -> tuple[str, ...]:
    """Byte order for sorting with Unicode's upper and lower case, the same on every machine that offers it."""
    answer = account.run(binaries / "postgres", "--version").stdout
    major = re.search(r"\d+", answer)
    if major and int(major[0]) >= _FIRST_WITH_BUILTIN_LOCALE:
        return ("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C")
    return ("--locale", "C.UTF-8" if sys.platform == "linux" else "C")


def _runs(binaries: Path, account: Account) -> bool:
    try:
        return account.run(binaries / "postgres", "--version").returncode == 0
    except OSError:
        return False
