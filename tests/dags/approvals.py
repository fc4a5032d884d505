"""Answer a run that waits for a person, over Airflow's own REST API, in a process beside `dag.test()`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = """
import json, sys, time
from fastapi.testclient import TestClient
from airflow.api_fastapi.app import create_app
answer = sys.argv[1]
with TestClient(create_app(apps="core")) as client:
    client.headers["Authorization"] = "Bearer " + client.get("/auth/token").json()["access_token"]
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        listed = client.get("/api/v2/dags/~/dagRuns/~/hitlDetails", params={"response_received": False}).json()
        waiting = [detail for detail in listed["hitl_details"] if detail["task_instance"]["state"] == "awaiting_input"]
        if waiting:
            ti = waiting[0]["task_instance"]
            path = f"/api/v2/dags/{ti['dag_id']}/dagRuns/{ti['dag_run_id']}/taskInstances/{ti['task_id']}/-1/hitlDetails"
            client.patch(path, json={"chosen_options": [answer], "params_input": {}}).raise_for_status()
            print("SHOWN " + json.dumps({"subject": waiting[0]["subject"], "body": waiting[0]["body"]}))
            break
        time.sleep(0.5)
"""


@dataclass
class Answered:
    """What the person saw; filled when the answer has been given."""

    subject: str = ""
    body: str = ""


@contextmanager
def answering(option: str) -> Iterator[Answered]:
    """Answer the next request for input with an option."""
    environment: dict[str, Any] = {
        **os.environ,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API_AUTH__JWT_SECRET": "only-for-this-test-only-for-this-test",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, option],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    answered = Answered()
    try:
        yield answered
        output, errors = process.communicate(timeout=30)
        shown = [line.removeprefix("SHOWN ") for line in output.splitlines() if line.startswith("SHOWN ")]
        assert shown, errors[-3000:]
        vars(answered).update(json.loads(shown[0]))
    finally:
        process.kill()
        process.wait()
