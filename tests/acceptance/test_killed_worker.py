"""What happens when the OOM killer takes a worker in mid-task.

Airflow 3.3 runs a task in a child of the worker; SIGKILL of the worker leaves that child running while the retry runs.
The first test shows it, on a plain task. The second shows that a job of this package does not outlive its worker, that
the retry waits for the lease, and that the record says what happened.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import pytest

pytestmark = pytest.mark.scheduler


@pytest.fixture
def steps(app, jobs):
    """The table that the probes write their steps to."""
    jobs.execute(
        "CREATE TABLE IF NOT EXISTS cp_ops.probe_step (task text, pid int, parent int, at timestamptz)"
    )
    jobs.execute("TRUNCATE cp_ops.probe_step")

    def read(task, pid=None):
        return jobs.execute(
            "SELECT pid, parent, at FROM cp_ops.probe_step WHERE task = %s AND (%s::int IS NULL OR pid = %s) ORDER BY at",
            (task, pid, pid),
        ).fetchall()

    return read


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.3)
    return found


def kill_worker_of(task, steps):
    """Wait until the task works, SIGKILL its worker, and give the task's pid and the steps done by then."""
    found = wait_for(lambda: len(rows := steps(task)) >= 3 and rows, 90, f"the first steps of {task}")
    pid, worker, _ = found[0]
    assert worker != 1
    os.kill(worker, signal.SIGKILL)
    time.sleep(1)
    return pid, len(steps(task, pid))


def test_airflow_leaves_the_child_of_a_killed_worker_running(api, steps):
    api.trigger("probe_unguarded", {})
    pid, done = kill_worker_of("unguarded", steps)
    try:
        wait_for(lambda: len(steps("unguarded", pid)) >= done + 3, 20, "further steps of the orphan")
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_job_dies_with_its_worker_and_its_retry_takes_over(api, steps, jobs):
    run = api.trigger("probe_job", {})
    pid, done = kill_worker_of("probe_job", steps)
    killed_at = time.time()

    assert api.wait(run, seconds=180).state == "success"

    assert len(steps("probe_job", pid)) == done, "the killed attempt went on writing"
    retry = [row for row in steps("probe_job") if row[0] != pid]
    assert len(retry) == 40
    assert retry[0][2].timestamp() > killed_at
    records = jobs.execute(
        "SELECT state, attempt, error FROM cp_ops.job_run WHERE command = 'probe_job' ORDER BY id"
    ).fetchall()
    assert [(state, attempt) for state, attempt, _ in records] == [("abandoned", 1), ("success", 2)]
    assert "killed" in records[0][2]
