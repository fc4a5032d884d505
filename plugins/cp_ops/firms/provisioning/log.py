"""The application's own log of provisioning, `firm_provisioning_log`.

Its row is committed before the transaction that creates the firm and completed inside it: a row that is still
``in_progress`` when its run is dead means that nothing was kept, and the next run of the slug says so in it. Where the
table is missing, or row-level security forbids a row without a firm, the run's record in `cp_ops.job_run` is what
survives a failure: it has the step and the error in any case.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from cp_ops.runtime.errors import LeaseLostError, translate
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cp_ops.firms.provisioning.options import ProvisionFirmOptions
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun

LOG_TABLE = Table.of(
    "firm_provisioning_log",
    "firm_id status started_at correlation_id provisioning_config steps_completed error_step",
    "SELECT",
    "INSERT",
    "UPDATE",
    optional=True,
)
CONFIG = (
    "name",
    "slug",
    "tier",
    "timezone",
    "currency",
    "max_users",
    "max_clients",
    "max_storage_gb",
    "adopt_existing_user",
    "invite",
)
"""Options that the log keeps: none about the administrator."""
MAX_STEP = 100
"""Length of firm_provisioning_log.error_step."""


class ProvisioningLog:
    """The log row of one run."""

    def __init__(self, run: JobRun, options: ProvisionFirmOptions) -> None:
        self._run = run
        self._correlation_id = f"cp_ops-run-{run.run_id}"
        self._slug = options.slug
        self._config = {name: getattr(options, name) for name in CONFIG}
        self._step = ""
        self._done: list[str] = []
        self._present = run.session.has(LOG_TABLE.name)
        self._before_firm = self._present and not run.session.guarded
        self._begun = False

    def step(self, name: str) -> None:
        """Note which step begins."""
        self._step = name[:MAX_STEP]

    def done(self, name: str) -> None:
        """Note a step that is done, if the transaction commits."""
        self._done.append(name)

    def begin(self) -> None:
        """Commit the row of a run that is about to write; close those of killed runs."""
        self._step = "begin"
        if not self._before_firm:
            return
        with self._run.write() as tx:
            tx.execute("close_killed_logs", slug=self._slug, now=self._run.now)
            tx.rows("begin_log", **self._row())
        self._begun = True

    def complete(self, tx: Transaction, firm_id: int) -> None:
        """Complete the row in the transaction that creates the firm."""
        steps = Jsonb(self._done)
        if self._before_firm:
            tx.execute("complete_log", correlation_id=self._correlation_id, firm_id=firm_id, steps=steps)
        elif self._present:
            tx.execute("insert_completed_log", firm_id=firm_id, steps=steps, **self._row())

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Record a failure with its step; the values of rows are never part of it."""
        try:
            yield
        except LeaseLostError:
            raise  # the run that took over closes the row
        except Exception as error:
            self._run.note("failed_step", self._step)
            if self._before_firm and not self._run.dry_run:
                self._fail(str(translate(error, doing=self._step)))
            raise

    def _fail(self, message: str) -> None:
        step = self._step
        # Nothing was to be written yet, so there is no row: a refused request is logged all the same.
        if not self._begun:
            self.begin()
        with self._run.write() as tx:
            tx.execute("fail_log", correlation_id=self._correlation_id, step=step, error=message)

    def _row(self) -> dict[str, Any]:
        return {
            "now": self._run.now,
            "correlation_id": self._correlation_id,
            "config": Jsonb(self._config),
            "metadata": Jsonb({"command": self._run.command, "run": self._run.run_id}),
        }
