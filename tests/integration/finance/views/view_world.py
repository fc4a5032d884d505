"""The reporting views by name, and what the tests read of them and of their log."""

from __future__ import annotations

from cp_ops.finance.views.options import VIEWS
from cp_ops.runtime.statements import INCLUDE

REVENUE, WEEKS, MONTHS = VIEWS
CORRECTED = (INCLUDE / "sql" / "optional" / "corrected_views.sql").read_text(encoding="utf-8")


def logs(owner, *columns):
    names = ", ".join(columns or ("view_name", "refresh_status", "rows_affected"))
    return owner.execute(f"SELECT {names} FROM finance_mv_refresh_log ORDER BY id").fetchall()


def count(owner, view):
    return owner.execute(f"SELECT count(*) FROM {view}").fetchone()[0]
