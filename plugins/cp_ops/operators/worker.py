"""The tie of a task to its worker. It is asked for first, so this module imports nothing that takes long."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk.execution_time import task_runner

from cp_ops.runtime.process import die_with, maker_of


def tie_to_worker() -> None:
    """Die with the worker, except under `dag.test()`, where the task runs inside the caller's own process.

    The worker is the process that made the socket pair between it and the task, just before it forked: the parent's pid
    may be another one by now, when the worker was killed while the task's process was still parsing the DAG file.
    """
    # Airflow has no public way to ask whether a task runs in its caller's process.
    comms: Any = getattr(task_runner, "SUPERVISOR_COMMS", None)
    if comms is not None and not type(comms).__name__.startswith("InProcess"):
        die_with(maker_of(comms.socket) or os.getppid())
