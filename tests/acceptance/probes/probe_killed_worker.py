"""Two DAGs for the test that kills workers: a job of this package, and a plain task for comparison.

Neither is part of the package. Each step of their work is a row of table probe_step, so that a test sees who works
when; nothing is printed, because a process whose worker is gone dies of its next log line by luck.
They are found by airflow like any other dag.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import DAG, BaseOperator

from cp_ops.operators.base import JobOperator
from cp_ops.operators.dags import retry_policy
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.options import JobOptions

if TYPE_CHECKING:
    from airflow.sdk import Context

STEPS = 40
PAUSE = 0.5
INSERT = b"INSERT INTO cp_ops.probe_step (task, pid, parent, at) VALUES (%s, %s, %s, clock_timestamp())"
DEFAULTS: dict[str, Any] = {
    "retries": 1,
    "retry_delay": timedelta(seconds=1),
    "execution_timeout": timedelta(minutes=5),
}


class Probe(Job[JobOptions]):
    """Work step by step; every step is a transaction that holds the fence."""

    command: ClassVar[str] = "probe_job"
    statements: ClassVar[str] = "runtime"
    options: ClassVar[type[JobOptions]] = JobOptions

    def run(self, run: JobRun, options: JobOptions) -> None:
        """Insert the steps."""
        for _ in range(STEPS):
            with run.write() as tx:
                tx.connection.execute(INSERT, ("probe_job", os.getpid(), os.getppid()))
            time.sleep(PAUSE)


class ProbeOperator(JobOperator):
    """The job's operator."""

    job = f"{__name__}:Probe"
    command = Probe.command
    options = Probe.options


class UnguardedOperator(BaseOperator):
    """The same work without anything that this package adds."""

    def execute(self, context: Context) -> None:
        """Insert the steps, each committed at once."""
        from cp_ops.hooks.application_db import ApplicationDbHook

        connection = ApplicationDbHook(application_name="probe", statement_timeout=60).connect()
        for _ in range(STEPS):
            connection.execute(INSERT, ("unguarded", os.getpid(), os.getppid()))
            time.sleep(PAUSE)


with DAG("probe_job", schedule=None, default_args=DEFAULTS | {"retry_policy": retry_policy()}):
    ProbeOperator(task_id="probe_job")

with DAG("probe_unguarded", schedule=None, default_args=DEFAULTS):
    UnguardedOperator(task_id="probe_unguarded")
