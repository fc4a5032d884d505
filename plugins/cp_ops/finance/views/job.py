"""refresh_materialized_views: refresh the reporting views, each on its own, and log each with the truth."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from psycopg import sql

from cp_ops.finance.views.options import VIEWS, RefreshMaterializedViewsOptions
from cp_ops.finance.views.plan import CLOSE, REFRESH, CloseLogs, RefreshView, ReportingView, plan_refresh
from cp_ops.runtime.errors import CpOpsError, DatabaseUnavailableError, LeaseLostError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.preflight import Table
from cp_ops.runtime.statements import ComposedStatement, template

if TYPE_CHECKING:
    from cp_ops.runtime.plan import Action

TriggeredBy = Literal["scheduled", "manual", "event"]

GRACE = 60
"""Seconds after which a log row marked running may be a dead run's; a live one takes its lock at once."""
LOCK_SECONDS = 10
"""How long a refresh waits for its lock."""


class RefreshStatus(StrEnum):
    """What the application's log says of a refresh that has ended."""

    SUCCESS = "success"
    FAILED = "failed"


class RefreshMaterializedViews(Job[RefreshMaterializedViewsOptions]):
    """Refresh the reporting views; one that cannot be refreshed stops no other.

    :param triggered_by: what the application's log says of who started the refresh.
    """

    command = "refresh_materialized_views"
    statements = "finance/views"
    options = RefreshMaterializedViewsOptions
    needs = (
        Table.of(
            "finance_mv_refresh_log",
            "id view_name firm_id refresh_started_at refresh_completed_at refresh_status rows_affected error_message"
            " triggered_by",
            "SELECT",
            "INSERT",
            "UPDATE",
        ),
    )

    def __init__(self, triggered_by: TriggeredBy = "manual") -> None:
        self._triggered_by = triggered_by

    def run(self, run: JobRun, options: RefreshMaterializedViewsOptions) -> None:
        """Look at the views, close the log rows of dead runs, refresh view by view."""
        views = [options.view] if options.view else list(VIEWS)
        with run.read() as tx:
            tx.execute("use_utc")
            facts = tx.rows("reporting_views", ReportingView, views=views)
            open_logs = tx.rows("stale_refresh_logs", views=views, grace=GRACE)
        stale: dict[str, list[int]] = {}
        for row in open_logs:
            stale.setdefault(row["view_name"], []).append(row["id"])
        found = plan_refresh(
            facts,
            stale,
            concurrently=options.concurrently,
            max_rows=run.settings.views_concurrently_max_rows,
        )
        for view, error in found.refused:
            run.fail(view, error)
        run.accept(found.plan)
        if run.dry_run:
            return
        for action in found.plan.of_kind(CLOSE):
            self._close(run, action)
        # A refused view is logged, too. The application would otherwise go on showing its last success.
        for view, error in found.refused:
            self._finish(run, self._begin(run, view), RefreshStatus.FAILED, error=str(error))
        for action in found.plan.of_kind(REFRESH):
            self._refresh(run, action)

    def _refresh(self, run: JobRun, action: Action) -> None:
        view, concurrently = action.target, action.payload(RefreshView).concurrently
        log_id = self._begin(run, view)
        try:
            with run.write() as tx:
                # A refresh that waits for its lock makes every later reader wait behind it.
                tx.execute("wait_at_most", seconds=LOCK_SECONDS)
                tx.execute(refresh_statement(view, concurrently=concurrently))
            with run.read() as tx:
                rows = tx.count(count_statement(view))
        except (LeaseLostError, DatabaseUnavailableError):
            raise  # nothing more can be written: the next run closes the log row
        except CpOpsError as error:
            self._finish(run, log_id, RefreshStatus.FAILED, error=str(error))
            run.fail(view, error)
            return
        seconds = self._finish(run, log_id, RefreshStatus.SUCCESS, rows=rows)
        run.done("refreshed", 1)
        run.note(view, f"{rows} rows in {seconds:.2f} s, {action.reason}")
        run.progress(f"{view}: {rows} rows in {seconds:.2f} s, {action.reason}")

    def _close(self, run: JobRun, action: Action) -> None:
        with run.write() as tx:
            tx.execute("use_utc")
            closed = tx.execute(
                "close_stale_refresh_logs",
                ids=list(action.payload(CloseLogs).ids),
                error=f"its run ended without a result; closed by run {run.run_id} of cp_ops",
            )
        run.done("logs_closed", closed)
        run.skip("log row closed by somebody else", action.rows - closed)

    def _begin(self, run: JobRun, view: str) -> int:
        """Write the log row before the refresh, in a transaction of its own: it stays if the refresh is rolled back."""
        with run.write() as tx:
            tx.execute("use_utc")
            row = tx.one("begin_refresh_log", view=view, triggered_by=self._triggered_by)
        assert row is not None
        return int(row["id"])

    def _finish(
        self, run: JobRun, log_id: int, status: RefreshStatus, *, rows: int | None = None, error: str = ""
    ) -> float:
        with run.write() as tx:
            tx.execute("use_utc")
            row = tx.one("finish_refresh_log", id=log_id, status=status.value, rows=rows, error=error)
        return float(row["seconds"]) if row else 0.0


def refresh_statement(view: str, *, concurrently: bool) -> ComposedStatement:
    """Compose the refresh of a view."""
    name = sql.Identifier(view)
    if concurrently:
        refresh = template("finance/views/refresh_concurrently", view=name)
        return ComposedStatement(f"finance/refresh_{view}_concurrently", refresh)
    return ComposedStatement(f"finance/refresh_{view}", template("finance/views/refresh", view=name))


def count_statement(view: str) -> ComposedStatement:
    """Compose the count of a view's rows."""
    return ComposedStatement(
        f"finance/count_{view}", template("finance/views/count", view=sql.Identifier(view))
    )
