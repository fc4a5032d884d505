from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import urllib.request
from typing import TYPE_CHECKING, ClassVar, Self

import pytest

from sandbox.airflow_api import Run
from sandbox.demo import Row, did, found, in_order, table
from sandbox.processes import ManagedProcess, ProcessRecord, process_identity
from sandbox.service import REPOSITORY, ProcessService, Service, ServiceError, Status, free_port, port_is_free
from sandbox.services.smtp import SmtpServer
from sandbox.supervisor import Sandbox, registered_services

if TYPE_CHECKING:
    from pathlib import Path

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def process(tmp_path: Path):
    managed = ManagedProcess("sleeper", tmp_path, grace=5)
    yield managed
    managed.stop()


def started(process: ManagedProcess, command: list[str] = SLEEP) -> ProcessRecord:
    process.spawn(command, environment=dict(os.environ))
    record = process.record()
    assert record is not None
    return record


def test_a_recycled_pid_is_never_killed(tmp_path: Path) -> None:
    stranger = subprocess.Popen(SLEEP, start_new_session=True)
    try:
        (tmp_path / "sleeper.pid").write_text(
            json.dumps({"pid": stranger.pid, "identity": "an earlier life"})
        )
        process = ManagedProcess("sleeper", tmp_path)
        assert not process.running()
        process.stop()
        assert stranger.poll() is None
        assert not process.pid_path.exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_another_command_stops_what_this_one_started(process: ManagedProcess, tmp_path: Path) -> None:
    record = started(process)
    ManagedProcess("sleeper", tmp_path).stop()
    assert not record.alive()
    assert not process.running()


def test_a_process_that_ignores_the_stop_signal_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = ManagedProcess("stubborn", tmp_path, grace=0.3)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    record = started(process, [sys.executable, "-c", code])
    process.wait_until(lambda: "deaf" in process.log_tail(), seconds=10)
    process.stop()
    assert not record.alive()


def test_what_a_killed_process_left_in_its_session_goes_too(process: ManagedProcess, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True); time.sleep(60)"
    )
    record = started(process, [sys.executable, "-c", code])
    process.wait_until(lambda: process.log_tail().strip().isdigit(), seconds=10)
    orphan = int(process.log_tail())
    os.kill(record.pid, signal.SIGKILL)
    process._await_end([record], 5)
    assert process_identity(orphan) is not None
    process.stop()
    assert process_identity(orphan) is None


def test_a_process_that_ends_at_once_is_reported_with_its_log(process: ManagedProcess) -> None:
    process.spawn(
        [sys.executable, "-c", "raise SystemExit('no such configuration')"], environment=dict(os.environ)
    )
    with pytest.raises(ServiceError, match=r"(?s)sleeper ended while starting.*no such configuration"):
        process.wait_until(lambda: False, seconds=10)


def test_a_process_that_never_gets_healthy_is_stopped(process: ManagedProcess) -> None:
    record = started(process)
    with pytest.raises(ServiceError, match="not ready after 0 s"):
        process.wait_until(lambda: False, seconds=0.2)
    assert not record.alive()


class Listener(ProcessService):
    """A service as small as one can be."""

    name: ClassVar[str] = "listener"

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-m", "http.server", str(port), "--bind", self.host]

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.port}/", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def environment(self) -> dict[str, str]:
        return {"LISTENER_URL": f"http://{self.host}:{self.port}/?it's"}


class Dependent(Service):
    """A service that notes whether what it needs was up when it started."""

    name: ClassVar[str] = "dependent"
    after: ClassVar[tuple[str, ...]] = ("listener",)

    def __init__(self, directory: Path, needed: Listener) -> None:
        super().__init__(directory)
        self.needed = needed

    @classmethod
    def in_sandbox(cls, sandbox: Sandbox) -> Self:
        return cls(sandbox.directory(cls.name), sandbox.service(Listener))

    def start(self) -> None:
        if not self.needed.status().running:
            raise ServiceError("the listener is down")

    def stop(self) -> None:
        pass

    def status(self) -> Status:
        return Status(running=self.needed.status().running, detail="depends")

    def logs(self, lines: int = 50) -> str:
        return ""


class Broken(Dependent):
    name: ClassVar[str] = "broken"

    def start(self) -> None:
        raise ServiceError("broken as it should be")


def sandbox_of(state: Path, *kinds: type[Service], **environ: str) -> Sandbox:
    return Sandbox(state, services={kind.name: kind for kind in kinds}, environ=environ)


@pytest.fixture
def sandbox(tmp_path: Path):
    built = sandbox_of(tmp_path / "state", Listener, Dependent)
    yield built
    built.clean()


def test_services_start_after_what_they_need_and_a_second_up_changes_nothing(sandbox: Sandbox) -> None:
    lines: list[str] = []
    sandbox.up(lines.append)
    assert [line.split()[0] for line in lines] == ["listener", "dependent"]
    record = sandbox.service(Listener).process.record()
    sandbox.up(lines.append)
    assert sandbox.service(Listener).process.record() == record
    assert all(service.status().running for service in sandbox.services().values())


def test_another_invocation_finds_the_same_ports_and_stops_the_services(sandbox: Sandbox) -> None:
    sandbox.up(lambda _: None)
    other = sandbox_of(sandbox.state, Listener, Dependent)
    assert other.service(Listener).port == sandbox.service(Listener).port
    other.down()
    assert not sandbox.service(Listener).status().running
    sandbox.up(lambda _: None)
    assert sandbox.service(Listener).port == other.service(Listener).port


def test_a_port_that_was_taken_meanwhile_is_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.up(lambda _: None)
    taken = sandbox.service(Listener).port
    sandbox.down()
    squatter = Listener(tmp_path / "squatter", port=taken, dies_with_parent=True)
    with squatter:
        sandbox.up(lambda _: None)
        assert sandbox.service(Listener).port != taken
        assert sandbox.service(Listener).status().running


def test_a_configured_port_is_used_and_an_occupied_or_senseless_one_is_named(tmp_path: Path) -> None:
    port = free_port()
    configured = sandbox_of(tmp_path / "a", Listener, CP_OPS_LISTENER_PORT=str(port))
    assert configured.service(Listener).port == port
    configured.up(lambda _: None)
    try:
        with pytest.raises(ServiceError, match=f"CP_OPS_LISTENER_PORT is {port}, but that port is in use"):
            sandbox_of(tmp_path / "b", Listener, CP_OPS_LISTENER_PORT=str(port)).up(lambda _: None)
    finally:
        configured.clean()
    assert port_is_free(port)
    with pytest.raises(ServiceError, match="CP_OPS_LISTENER_PORT is 'http', not a port number"):
        sandbox_of(tmp_path / "c", Listener, CP_OPS_LISTENER_PORT="http").up(lambda _: None)


def test_a_free_port_is_given_to_nobody_else_before_its_server_listens() -> None:
    ports = {free_port() for _ in range(300)}
    assert len(ports) == 300
    assert all(map(port_is_free, ports))


def test_a_failing_start_leaves_nothing_behind(tmp_path: Path) -> None:
    sandbox = sandbox_of(tmp_path, Listener, Broken)
    with pytest.raises(ServiceError, match="broken as it should be"):
        sandbox.up(lambda _: None)
    assert not sandbox.service(Listener).process.running()


def test_the_env_file_is_private_and_a_shell_reads_it(sandbox: Sandbox) -> None:
    sandbox.up(lambda _: None)
    env = sandbox.state / "env"
    assert env.stat().st_mode & 0o077 == 0
    script = f'. {shlex.quote(str(env))}; printf %s "$LISTENER_URL"'
    answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout == sandbox.service(Listener).environment()["LISTENER_URL"]


def test_two_ups_at_once_start_each_service_once(sandbox: Sandbox) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            sandbox_of(sandbox.state, Listener, Dependent).up(lambda _: None)
        except Exception as error:  # noqa: BLE001  shown by the assertion
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sandbox.service(Listener).status().running


def test_clean_forgets_ports_and_secrets(sandbox: Sandbox) -> None:
    secret = sandbox.secret("key")
    assert sandbox.secret("key") == secret
    sandbox.clean()
    assert sandbox.secret("key") != secret


def test_every_service_file_is_found_after_what_it_needs() -> None:
    names = list(registered_services())
    assert {"postgres", "s3", "smtp", "application", "airflow"} <= set(names)
    for name, kind in registered_services().items():
        assert all(names.index(needed) < names.index(name) for needed in kind.after)


def test_the_command_line_shows_mails_and_refuses_unknown_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sandbox.__main__ as command_line

    monkeypatch.setattr(command_line, "Sandbox", lambda: Sandbox(tmp_path))
    mailbox = Sandbox(tmp_path).service(SmtpServer).mailbox
    mailbox.mkdir(parents=True)
    (mailbox / "000001.eml").write_text("Subject: A reminder\n\nPlease pay.\n")
    (mailbox / "000001.json").write_text(
        json.dumps({"mail_from": "a@b.c", "recipients": ["x@y.z"], "received_at": 0})
    )
    assert command_line.main(["mails"]) == 0
    assert "x@y.z" in (listing := capsys.readouterr().out)
    assert "A reminder" in listing
    assert command_line.main(["mails", "1"]) == 0
    assert "Please pay." in capsys.readouterr().out
    assert command_line.main(["mails", "2"]) == 1
    assert command_line.main(["logs", "nothing"]) == 1
    assert "no service 'nothing'; there are" in capsys.readouterr().err


def test_make_help_names_every_verb() -> None:
    answer = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for verb in (
        "demo",
        "up",
        "stop",
        "test",
        "lint",
        "docs",
        "migrate",
        "trigger",
        "psql",
        "mails",
        "lock",
        "clean",
    ):
        assert f"make {verb} " in answer.stdout


def test_the_demos_table_says_what_was_done_and_found() -> None:
    outcome = {
        "planned": 1200,
        "done": 3,
        "skipped": {"too young": 2, "held": 1},
        "failed": 0,
        "findings": {"opened": 2, "seen_again": 0, "resolved": 1},
    }
    row = Row(
        Run("check_stale_deals", "demo", "success", 2.345, "http://x/dags/check_stale_deals/runs/demo"),
        [outcome],
    )
    assert did([outcome]) == "planned 1,200, done 3, skipped 3"
    assert found([outcome]) == "2 opened, 1 resolved"
    assert did([{"planned": 0}]) == "nothing to do"
    assert not row.failed
    assert table([row]).splitlines()[2].split()[:2] == ["check_stale_deals", "success"]
    assert Row(row.run, [outcome | {"failed": 1}]).failed
    assert Row(Run("x", "demo", "running", None, ""), []).failed


def test_the_demo_delivers_the_mails_last() -> None:
    assert in_order(["cp_ops_deliver_mail", "b", "check_stale_deals", "a"]) == [
        ["check_stale_deals", "a", "b"],
        ["cp_ops_deliver_mail"],
    ]
