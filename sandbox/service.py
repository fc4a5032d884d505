"""The contract of a sandbox service: four verbs, in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from sandbox.processes import ManagedProcess, ServiceError, die_with_parent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from sandbox.supervisor import Sandbox

LOOPBACK = "127.0.0.1"
_ANSWER_SECONDS = 5.0
REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Status:
    """One line of `python -m sandbox status`."""

    running: bool
    detail: str


class Service(ABC):
    """Something that starts, stops and tells how it is. Usable by itself (in a test) or under the supervisor.

    A file in `sandbox/services/` whose class is a concrete `Service` with a `name` is found by the supervisor.
    `after` names the services that must be up before this one starts; the others start at the same time.
    """

    name: ClassVar[str]
    after: ClassVar[tuple[str, ...]] = ()

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    @abstractmethod
    def in_sandbox(cls, sandbox: Sandbox) -> Self:
        """Build the service as the sandbox wants it: its directory, its remembered port, its secrets."""

    @abstractmethod
    def start(self) -> None:
        """Start it unless it runs already and return once it is healthy.

        Raises ServiceError with the end of its log when it does not become so.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop it; nothing happens when it does not run."""

    @abstractmethod
    def status(self) -> Status:
        """Tell whether it runs and where."""

    @abstractmethod
    def logs(self, lines: int = 50) -> str:
        """Return the last lines of its log."""

    def remove(self) -> None:
        """Stop it and delete what it keeps."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def environment(self) -> dict[str, str]:
        """Return the variables by which Airflow and the jobs find this service."""
        return {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class ProcessService(Service):
    """A service that is one process of this interpreter listening on one port of 127.0.0.1.

    `dies_with_parent=True` is for tests: the process ends when the one that started it ends (Linux).
    """

    start_seconds: ClassVar[float] = 30.0

    def __init__(self, directory: Path, *, port: int | None = None, dies_with_parent: bool = False) -> None:
        super().__init__(directory)
        self._fixed_port = port
        self._dies_with_parent = dies_with_parent
        self.process = ManagedProcess(self.name, directory)

    @classmethod
    @override
    def in_sandbox(cls, sandbox: Sandbox) -> Self:
        return cls(sandbox.directory(cls.name), port=sandbox.port(cls.name))

    @abstractmethod
    def command(self, port: int) -> Sequence[str]:
        """Return the command line of the process that listens on `port`."""

    def healthy(self) -> bool:
        """Tell whether it serves; that it accepts connections, unless a service knows better."""
        return accepts_connections(self.port)

    @property
    def host(self) -> str:
        """The address it listens on."""
        return LOOPBACK

    @property
    def port(self) -> int:
        """The port it listens on. Raises ServiceError before the first start of a server with no fixed port."""
        if self._fixed_port is not None:
            return self._fixed_port
        try:
            return int((self.directory / "port").read_text(encoding="utf-8"))
        except OSError as error:
            raise ServiceError(f"{self.name} in {self.directory} was never started") from error

    @override
    def start(self) -> None:
        if self.process.running() and self._answers_within(_ANSWER_SECONDS):
            return
        self.process.stop()
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "port").write_text(str(self._fixed_port or free_port()), encoding="utf-8")
        self.process.spawn(
            self.command(self.port),
            environment={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
            preexec=die_with_parent(signal.SIGTERM) if self._dies_with_parent else None,
        )
        self.process.wait_until(self.healthy, seconds=self.start_seconds)

    def _answers_within(self, seconds: float) -> bool:
        """Give a running process the time to answer: a busy machine is no reason to restart it."""
        deadline = time.monotonic() + seconds
        while not self.healthy():
            if time.monotonic() > deadline or not self.process.running():
                return False
            time.sleep(0.1)
        return True

    @override
    def stop(self) -> None:
        self.process.stop()

    @override
    def status(self) -> Status:
        if self.process.running() and self.healthy():
            return Status(running=True, detail=f"{self.host}:{self.port}")
        return Status(running=False, detail="stopped")

    @override
    def logs(self, lines: int = 50) -> str:
        return self.process.log_tail(lines)


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses, and that nobody else is given until its server listens.

    A connection that ends here first stays behind in TIME_WAIT. For that minute the kernel gives the port to nobody who
    asks for any; a server that names it, with SO_REUSEADDR as servers do, may have it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, 0))
        probe.listen(1)
        port = int(probe.getsockname()[1])
        with socket.create_connection((LOOPBACK, port)):
            accepted, _ = probe.accept()
            accepted.close()
        return port


def accepts_connections(port: int) -> bool:
    """Tell whether something listens on 127.0.0.1:`port`."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=3):
            return True
    except OSError:
        return False


__all__ = [
    "LOOPBACK",
    "REPOSITORY",
    "ManagedProcess",
    "ProcessService",
    "Service",
    "ServiceError",
    "Status",
    "accepts_connections",
    "free_port",
    "port_is_free",
]
