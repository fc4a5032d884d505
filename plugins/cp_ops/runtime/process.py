"""A task must not outlive its worker.

Airflow 3.3 runs a task in a child of the worker process; when that worker is killed (SIGKILL, as the OOM killer does),
the child runs on while the scheduler starts the retry. The fence keeps such a child from writing to the database;
this keeps it from doing anything at all.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""
INIT = 1
_PARENT = 1
"""Where /proc/pid/stat has the parent's pid, counted behind the command (proc_pid_stat(5))."""


def die_with(worker: int) -> bool:
    """Ask the kernel to kill this process when its parent dies, and end it now if the worker is gone already.

    :param worker: the pid of the process that this one was started by, its parent or, with sudo between them, an
        earlier ancestor. It is never read from here: an orphan's parent is whoever adopted it, and the worker itself
        may be pid 1, as in a pod of its own.
    :return: False where the system cannot (not Linux).
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return False
    # The worker may have been killed before the kernel was asked. Its death would then never be told to us.
    if _is_orphan_of(worker):
        os.kill(os.getpid(), signal.SIGKILL)
    return True


def maker_of(pair: socket.socket) -> int | None:
    """Give the pid of the process that made a socket pair, whether it lives or not; None where the system cannot say.

    The kernel keeps the credentials of the moment of socketpair(2) (SO_PEERCRED in unix(7)).
    """
    if not hasattr(socket, "SO_PEERCRED") or pair.family != socket.AF_UNIX:
        return None
    credentials = pair.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid or None


def _is_orphan_of(worker: int) -> bool:
    """Tell whether a process is no ancestor of this one any more; False where that cannot be seen."""
    ancestor = os.getppid()
    while ancestor not in (worker, INIT, 0):
        try:
            stat = Path(f"/proc/{ancestor}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        ancestor = int(stat.rpartition(")")[2].split()[_PARENT])
    return ancestor != worker
