"""Processes that outlive the command which started them, stopped only while they are provably ours."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.05


class ServiceError(Exception):
    """A service could not do what was asked; the message says why and how to go on."""


def process_identity(pid: int) -> str | None:
    """Name the life of process `pid`: a recycled pid has another identity. None when it is gone or a zombie.

    On Linux the boot id and the start time in clock ticks since boot (proc(5), field 22 of stat), which no
    change of the wall clock can alter; elsewhere the creation time.
    """
    if sys.platform == "linux":
        try:
            fields = (
                Path(f"/proc/{pid}/stat")
                .read_text(encoding="utf-8", errors="replace")
                .rpartition(")")[2]
                .split()
            )
        except OSError:
            return None
        if fields[0] in {"Z", "X"}:
            return None
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot_id}:{fields[19]}"
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.3f}"
    except psutil.Error:
        return None


@dataclass(frozen=True)
class ProcessRecord:
    """What the pid file holds."""

    pid: int
    identity: str

    def alive(self) -> bool:
        """Tell whether the very process that was recorded still runs."""
        return process_identity(self.pid) == self.identity

    def signal(self, number: signal.Signals) -> None:
        """Signal the recorded process, and no other that may have got its pid since."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Return a `preexec_fn` that asks the kernel for `number` when the thread that starts the child ends.

    Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere it does nothing.
    """
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)

    def preexec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)

    return preexec


class ManagedProcess:
    """One process in a session of its own, with a log and a pid file in `directory`.

    The pid file carries the process's identity, so that another command (or a later day) can stop it and can
    never hit a stranger that got the same pid.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace: float = 10.0,
    ) -> None:
        self.name = name
        self.directory = directory
        self.log_path = directory / f"{name}.log"
        self.pid_path = directory / f"{name}.pid"
        self.stop_signal = stop_signal
        self.grace = grace
        self._child: subprocess.Popen[bytes] | None = None

    def record(self) -> ProcessRecord | None:
        """Return the pid file's content; None when there is none or it is not readable as one."""
        try:
            return ProcessRecord(**json.loads(self.pid_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def running(self) -> bool:
        """Tell whether the process that was started here still runs."""
        if self._child is not None:
            self._child.poll()
        record = self.record()
        return record is not None and record.alive()

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        cwd: Path | None = None,
        user: int | None = None,
        group: int | None = None,
        preexec: Callable[[], None] | None = None,
    ) -> None:
        """Start `command` and write its pid file; nothing happens when it already runs."""
        if self.running():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=cwd or self.directory,
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=[] if user is not None else None,
                preexec_fn=preexec,  # noqa: PLW1509  prctl(2) only, from the main thread of a test session
            )
        identity = process_identity(self._child.pid)
        if identity is not None:
            record = ProcessRecord(self._child.pid, identity)
            draft = self.pid_path.with_suffix(".pid.new")
            draft.write_text(json.dumps(asdict(record)), encoding="utf-8")
            draft.replace(self.pid_path)

    def wait_until(self, healthy: Callable[[], bool], *, seconds: float) -> None:
        """Wait until `healthy()`; stop the process and raise with its last log lines when it never is."""
        deadline = time.monotonic() + seconds
        while not healthy():
            if not self.running():
                raise ServiceError(f"{self.name} ended while starting; {self._log_excerpt()}")
            if time.monotonic() > deadline:
                self.stop()
                raise ServiceError(f"{self.name} was not ready after {seconds:.0f} s; {self._log_excerpt()}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End the process and what it left in its session: first the stop signal, after the grace SIGKILL."""
        record = self.record()
        if record is not None:
            session = self._session(record)
            record.signal(self.stop_signal)
            self._await_end([record], self.grace)
            leftovers = {entry.pid: entry for entry in (record, *session, *self._session(record))}
            for entry in leftovers.values():
                entry.signal(signal.SIGKILL)
            self._await_end(list(leftovers.values()), 5.0)
        self.pid_path.unlink(missing_ok=True)
        if self._child is not None:
            self._child.poll()
            self._child = None

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the process's log."""
        try:
            return "\n".join(
                self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
            )
        except OSError:
            return ""

    def _log_excerpt(self) -> str:
        tail = self.log_tail()
        return f"its log {self.log_path} ends with:\n{tail}" if tail else f"its log {self.log_path} is empty"

    def _await_end(self, records: Sequence[ProcessRecord], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._child is not None:
                self._child.poll()
            if not any(record.alive() for record in records):
                return
            time.sleep(_POLL_SECONDS)

    def _session(self, leader: ProcessRecord) -> list[ProcessRecord]:
        """Return the processes in the session that `leader` opened.

        The kernel does not give away a pid while a session of that number lives. When the leader is gone, a
        member must also stand in this service's directory to count as ours.
        """
        occupied = process_identity(leader.pid)
        if occupied is not None and occupied != leader.identity:
            return []
        members = []
        for pid in psutil.pids():
            try:
                if pid == leader.pid or os.getsid(pid) != leader.pid:
                    continue
                if occupied is None and Path(psutil.Process(pid).cwd()) != self.directory:
                    continue
            except (OSError, psutil.Error):
                continue
            identity = process_identity(pid)
            if identity is not None:
                members.append(ProcessRecord(pid, identity))
        return members
