"""Start and stop the sandbox's services in the order of what they need, and remember what they were given."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import inspect
import json
import os
import pkgutil
import secrets
import shlex
import shutil
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, TypeVar

import sandbox.services
from sandbox.service import REPOSITORY, Service, ServiceError, free_port, port_is_free

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

STATE = REPOSITORY / ".sandbox"
_LOCK_FILE = "lock"

ServiceType = TypeVar("ServiceType", bound=Service)


def registered_services() -> dict[str, type[Service]]:
    """Return the concrete services of `sandbox/services/` by name, each after those that it needs."""
    found: dict[str, type[Service]] = {}
    for module in pkgutil.iter_modules(sandbox.services.__path__):
        for _, member in inspect.getmembers(
            importlib.import_module(f"{sandbox.services.__name__}.{module.name}"), inspect.isclass
        ):
            if issubclass(member, Service) and not inspect.isabstract(member):
                found[member.name] = member
    order = TopologicalSorter({name: kind.after for name, kind in found.items()}).static_order()
    return {name: found[name] for name in order}


class Sandbox:
    """One sandbox: a state directory that holds data, logs, pid files, ports, secrets and the `env` file."""

    def __init__(
        self,
        state: Path = STATE,
        *,
        services: Mapping[str, type[Service]] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.state = state
        self._environ = environ
        self._registered = dict(services) if services is not None else registered_services()
        self._instances: dict[str, Service] = {}

    def directory(self, name: str) -> Path:
        """Return the directory of a service."""
        return self.state / name

    def port(self, name: str) -> int:
        """Return the port of a service: CP_OPS_<NAME>_PORT, else a free one that is remembered."""
        ports = self._remembered("ports")
        if name not in ports:
            ports[name] = str(self._configured_port(name) or free_port())
            self._remember("ports", ports)
        return int(ports[name])

    def secret(self, name: str, generate: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> str:
        """Return a secret of this sandbox, generated when it is asked for first."""
        known = self._remembered("secrets")
        if name not in known:
            known[name] = generate()
            self._remember("secrets", known)
        return known[name]

    def setting(self, name: str, default: str) -> str:
        """Return what the caller's environment says about how to run the sandbox."""
        return self._environ.get(name) or default

    def service(self, kind: type[ServiceType]) -> ServiceType:
        """Return this sandbox's service of a class."""
        instance = self._named(kind.name)
        if not isinstance(instance, kind):
            raise TypeError(f"service {kind.name} of this sandbox is a {type(instance).__name__}")
        return instance

    def services(self) -> dict[str, Service]:
        """Return all services by name, each after those that it needs."""
        return {name: self._named(name) for name in self._registered}

    def environment(self) -> dict[str, str]:
        """Return the variables by which Airflow, the jobs and a person's shell find the services."""
        merged: dict[str, str] = {"CP_OPS_SANDBOX": str(self.state)}
        for service in self.services().values():
            merged |= service.environment()
        return merged

    def up(self, report: Callable[[str], None] = print) -> None:
        """Start every service, those that do not need one another at the same time.

        Raises ServiceError when one does not start, after having stopped what this call started.
        """
        with self._locked():
            self._reassign_occupied_ports()
            self._write_env()
            running = {name for name, service in self.services().items() if service.status().running}
            try:
                self._start_in_order(report, keep=running)
            except BaseException:
                self._stop_all(keep=running)  # again: a thread may have gone on to its next process
                raise

    def down(self) -> None:
        """Stop every service; data and ports stay."""
        with self._locked():
            self._stop_all()

    def clean(self) -> None:
        """Stop every service and delete all that the sandbox holds."""
        with self._locked():
            self._stop_all()
            for service in self.services().values():
                service.remove()
            for entry in self.state.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)
                elif entry.name != _LOCK_FILE:
                    entry.unlink()
            self._instances.clear()

    def _start_in_order(self, report: Callable[[str], None], *, keep: set[str]) -> None:
        services = self.services()
        sorter = TopologicalSorter({name: service.after for name, service in services.items()})
        sorter.prepare()
        pending: dict[Future[float], str] = {}
        with ThreadPoolExecutor(max_workers=len(services) or 1) as pool:
            while sorter.is_active():
                for name in sorter.get_ready():
                    pending[pool.submit(_timed, services[name].start)] = name
                finished, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    name = pending.pop(future)
                    if future.exception() is not None:
                        self._stop_all(keep=keep)  # ends what the other threads wait for
                    seconds = future.result()
                    report(f"{name} is up: {services[name].status().detail} ({seconds:.1f} s)")
                    sorter.done(name)

    def _stop_all(self, *, keep: set[str] | None = None) -> None:
        errors = []
        for name, service in reversed(self.services().items()):
            if name not in (keep or set()):
                try:
                    service.stop()
                except (ServiceError, OSError) as error:
                    errors.append(f"{name}: {error}")
        if errors:
            raise ServiceError("could not stop " + "; ".join(errors))

    def _named(self, name: str) -> Service:
        if name not in self._instances:
            self._instances[name] = self._registered[name].in_sandbox(self)
        return self._instances[name]

    def _configured_port(self, name: str) -> int | None:
        variable = f"CP_OPS_{name.upper()}_PORT"
        text = self._environ.get(variable)
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
            raise ServiceError(f"{variable} is {text!r}, not a port number")
        return int(text)

    def _reassign_occupied_ports(self) -> None:
        """Give stopped services the port that is configured now, or another one when theirs was taken."""
        services = self.services()  # which gives a port to every service that asks for one
        ports = self._remembered("ports")
        for name, service in services.items():
            if name not in ports or service.status().running:
                continue
            service.stop()  # leftovers of a half-dead service may hold the port
            configured = self._configured_port(name)
            if configured is not None:
                if not port_is_free(configured):
                    raise ServiceError(f"CP_OPS_{name.upper()}_PORT is {configured}, but that port is in use")
                ports[name] = str(configured)
            elif not port_is_free(int(ports[name])):
                ports[name] = str(free_port())
        self._remember("ports", ports)
        self._instances.clear()

    def _write_env(self) -> None:
        """Write `env`, to be read by a shell: `set -a; . .sandbox/env; set +a`."""
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in sorted(self.environment().items())]
        self._write_private("env", "".join(lines))

    def _remembered(self, what: str) -> dict[str, str]:
        try:
            content: dict[str, str] = json.loads((self.state / f"{what}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return content

    def _remember(self, what: str, content: Mapping[str, str]) -> None:
        self._write_private(f"{what}.json", json.dumps(content, indent=2) + "\n")

    def _write_private(self, name: str, text: str) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        draft = self.state / f"{name}.new"
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.state / name)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the sandbox against a second `up`, `down` or `clean`, which waits."""
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / _LOCK_FILE).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _timed(action: Callable[[], None]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began
