"""Does the real schema understand a composed statement? PostgreSQL is asked to prepare it, as it would be executed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

PARAMETER = re.compile(r"%\((\w+)\)s")


def prepare(connection: psycopg.Connection[Any], query: sql.Composed) -> None:
    """Prepare a statement and forget it; raises what PostgreSQL finds wrong with it."""
    text = query.as_string(connection)
    names = list(dict.fromkeys(PARAMETER.findall(text)))
    numbered = PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", text).replace("%%", "%")
    connection.execute(f"PREPARE composed AS {numbered}".encode())
    connection.execute("DEALLOCATE composed")
