"""A job that does what a test says: the runtime's tests need no domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.options import FirmOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from cp_ops.runtime.preflight import Table


class ScriptedJob(Job[FirmOptions]):
    """Call `script(run)`, once."""

    command = "scripted"
    statements = "runtime"
    options = FirmOptions
    needs: ClassVar[tuple[Table, ...]] = ()

    def __init__(self, script: Callable[[JobRun], object] = lambda run: None) -> None:
        self._script = script

    def run(self, run: JobRun, options: FirmOptions) -> None:
        self._script(run)


def note_on_firms(run: JobRun, text: str) -> None:
    """Write something of the application's, in a transaction that checks the fence."""
    with run.write() as tx:
        tx.connection.execute("UPDATE firm_firm SET notes = notes || %s", [text])
