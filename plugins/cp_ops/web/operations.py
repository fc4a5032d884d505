"""The operations page: the last runs, the open findings, the outbox. Reads only; behind Airflow's login."""

from __future__ import annotations

from contextlib import closing
from functools import cache
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import requires_access_view
from fastapi import Depends, FastAPI, Query
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

from cp_ops.operators.links import PREFIX
from cp_ops.runtime.errors import CpOpsError
from cp_ops.runtime.outcome import Outcome

__all__ = ["PREFIX", "app"]

ROWS = 100
"""Rows that a table of the page shows at most."""
STATEMENT_TIMEOUT = 10
"""Seconds: a page must not hold the database."""

app = FastAPI(title="cp_ops operations", docs_url=None, redoc_url=None, openapi_url=None)
"""Airflow does not guard a plugin's app by itself: every route depends on `requires_access_view`."""


@app.get("/", dependencies=[Depends(requires_access_view(AccessView.JOBS))])
def operations(command: Annotated[str | None, Query(max_length=100)] = None) -> HTMLResponse:
    """Show the page, of one command or of all."""
    try:
        tables = _read(command)
    except CpOpsError as error:
        return HTMLResponse(_render(command, {}, str(error)), status_code=503)
    return HTMLResponse(_render(command, tables, ""))


def _read(command: str | None) -> dict[str, Any]:
    from cp_ops.hooks.application_db import ApplicationDbHook
    from cp_ops.runtime.database import Transaction

    hook = ApplicationDbHook(application_name="cp_ops operations page", statement_timeout=STATEMENT_TIMEOUT)
    with closing(hook.connect()) as connection, connection.transaction():
        connection.execute(b"SET TRANSACTION READ ONLY")
        tx = Transaction(connection, "web", Outcome("operations", dry_run=True))
        return {
            "runs": tx.rows(
                "latest_runs" if command is None else "runs_of_command", command=command, rows=ROWS
            ),
            "findings": tx.rows("open_findings", command=command, rows=ROWS),
            "mails": tx.rows("mails_by_state"),
        }


def _render(command: str | None, tables: dict[str, Any], error: str) -> str:
    return (
        _templates()
        .get_template("web/operations.html.j2")
        .render(
            command=command, error=error, rows=ROWS, **{"runs": [], "findings": [], "mails": [], **tables}
        )
    )


@cache
def _templates() -> Environment:
    from cp_ops.runtime.statements import INCLUDE

    return Environment(loader=FileSystemLoader(INCLUDE / "templates"), autoescape=True)
