"""A task does not outlive its worker, also one that was killed before the task could ask for that."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from cp_ops.runtime.process import maker_of
from sandbox.application import REPOSITORY

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")

WORKER = """
import os, signal, socket, sys, time
from cp_ops.runtime.process import die_with, maker_of

def say(text):
    os.write(int(sys.argv[1]), text.encode() + b"\\n")

def parent_of(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])

def task():
    pair.send(b"started")
    below_worker = os.getppid() if BETWEEN else os.getpid()
    while KILLED_EARLY and parent_of(below_worker) == worker:
        time.sleep(0.01)
    say("asks")
    try:
        say(f"asked: {die_with(maker_of(pair))}")
        time.sleep(60)
    except BaseException as error:
        say(repr(error))
    finally:
        os._exit(0)

KILLED_EARLY, BETWEEN = [flag == "True" for flag in sys.argv[2:]]
worker = os.getpid()
own, pair = socket.socketpair()
if os.fork() == 0:
    if not BETWEEN or os.fork() == 0:
        task()
    signal.signal(signal.SIGCHLD, lambda *_: os._exit(0))
    time.sleep(60)
own.recv(7)
if KILLED_EARLY:
    os.kill(worker, signal.SIGKILL)
time.sleep(60)
"""


class Worker:
    """A worker whose task says what it does, line by line, until nothing of it is alive."""

    def __init__(self, *, killed_early: bool, between: bool) -> None:
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(writing), str(killed_early), str(between)],
            pass_fds=[writing],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY / "plugins")},
        )
        os.close(writing)
        self.lines = os.fdopen(reading)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start():
    started = []

    def start(**how):
        started.append(Worker(**how))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.lines.close()


@pytest.mark.parametrize("between", [False, True], ids=["child", "grandchild, as with sudo"])
def test_a_task_whose_worker_was_killed_before_it_could_ask_ends_at_once(start, between):
    worker = start(killed_early=True, between=between)
    assert worker.lines.readlines() == ["asks\n"]


@pytest.mark.parametrize("between", [False, True], ids=["child", "grandchild, as with sudo"])
def test_a_task_whose_worker_lives_goes_on(start, between):
    worker = start(killed_early=False, between=between)
    assert [worker.lines.readline() for _ in range(2)] == ["asks\n", "asked: True\n"]
    os.kill(worker.process.pid, 0)


def test_a_task_dies_with_its_worker(start):
    worker = start(killed_early=False, between=False)
    assert [worker.lines.readline() for _ in range(2)] == ["asks\n", "asked: True\n"]
    worker.kill()
    assert worker.lines.readline() == ""


AIRFLOW = """
import os, sys
from airflow.sdk.execution_time.comms import CommsDecoder
from airflow.sdk.execution_time.supervisor import WatchedSubprocess
from cp_ops.runtime.process import maker_of

def task():
    os.write(writing, str(maker_of(CommsDecoder().socket)).encode())

reading, writing = os.pipe()
os.set_inheritable(writing, True)
child = WatchedSubprocess.start(target=task, id="00000000-0000-0000-0000-000000000000")
os.close(writing)
print(os.getpid(), os.read(reading, 20).decode())
"""


def test_airflows_socket_to_the_task_names_the_worker():
    """Held against Airflow's own start of a task: it makes the pair and forks in the same process."""
    ran = subprocess.run(
        [sys.executable, "-c", AIRFLOW],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "plugins")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    worker, maker = ran.stdout.splitlines()[-1].split()
    assert worker == maker


def test_a_socket_that_is_no_pair_has_no_maker():
    with socket.socket() as tcp:
        assert maker_of(tcp) is None
