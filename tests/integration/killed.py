"""Kill a run for good at a named step, as the OOM killer would: the process is gone, nothing is cleaned up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

from sandbox.application import REPOSITORY

SCRIPT = """
import importlib, json, os, signal, sys
import psycopg
from cp_ops.runtime.lease import Identity
from cp_ops.runtime.runner import run_job
from cp_ops.runtime.settings import Settings

given = json.loads(sys.argv[1])

def located(path):
    module, _, name = path.partition(":")
    found = importlib.import_module(module)
    owner = None
    for part in name.split("."):
        owner, found = found, getattr(found, part)
    return owner, name.rsplit(".", 1)[-1], found

owner, name, original = located(given["at"])
calls = 0

def deadly(*args, **kwargs):
    global calls
    calls += 1
    if calls == given["call"] and given["before"]:
        os.kill(os.getpid(), signal.SIGKILL)
    answer = original(*args, **kwargs)
    if calls == given["call"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

setattr(owner, name, deadly)
job = located(given["job"])[2](*[located(path)[2]() for path in given["clients"]])
run_job(
    job,
    job.options.parse(given["options"]),
    connect=lambda: psycopg.connect(given["dsn"], autocommit=True),
    settings=Settings(**given["settings"]),
    identity=Identity("test/killed/task"),
    lease_ttl=1,
)
"""


def run_and_kill(
    dsn: str,
    job: str,
    *,
    at: str,
    call: int = 1,
    before: bool = False,
    clients: tuple[str, ...] = (),
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> bool:
    """Run a job in a process of its own that dies when `at` has been called for the `call`-th time.

    :param job: ``module:Class``; `at` and `clients`: ``module:name`` or ``module:Class.method``.
    :param before: die instead of calling it.
    :return: whether it died there; False when the job ended without calling it as often.
    """
    given = {
        "dsn": dsn,
        "job": job,
        "at": at,
        "call": call,
        "before": before,
        "clients": clients,
        "settings": settings or {},
        "options": options,
    }
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(given)],
        cwd=REPOSITORY,
        env={"PYTHONPATH": f"{REPOSITORY / 'plugins'}:{REPOSITORY}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if answer.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(answer.stderr)
    return answer.returncode == -signal.SIGKILL
