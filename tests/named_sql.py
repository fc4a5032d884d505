"""The files of named statements, for tests that look at every one of them."""

from __future__ import annotations

from cp_ops.runtime.statements import INCLUDE

_SQL = INCLUDE / "sql"
_NOT_NAMED = ("templates", "optional")
"""Templates are filled before they are run; what is optional is the deployment's to run."""

FILES = sorted(
    str(path.relative_to(_SQL).with_suffix(""))
    for path in _SQL.rglob("*.sql")
    if path.relative_to(_SQL).parts[0] not in _NOT_NAMED
)
"""Below `include/sql/` and without the suffix, as jobs address them: ``finance/charges``."""
