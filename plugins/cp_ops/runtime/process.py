"""A task must not outlive its worker.

Airflow 3.3 runs a task in a child of the worker process; when that worker is killed (SIGKILL, as the OOM killer does),
the child runs on while the scheduler starts the retry. The fence keeps such a child from writing to the database;
this keeps it from doing anything at all.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""


def die_with_parent(parent: int) -> bool:
    """Ask the kernel to kill this process when its parent dies; False where the system cannot (not Linux).

    :param parent: the parent's pid as it was when the process started: when it is gone already, this process ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return False
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    return True
