"""The demo world: three firms, their story, and as much bulk as the scale asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from sandbox.world import files
from sandbox.world.builder import World
from sandbox.world.bulk import multiply
from sandbox.world.cast import FIRMS, engage
from sandbox.world.discrepancies import Discrepancy, Manifest
from sandbox.world.story import IN_BUSINESS, tell

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

DEFAULT_SEED = 7
VIEWS = ("mv_revenue_by_project_month", "mv_utilization_by_user_week", "mv_utilization_by_project_month")
MAX_DEFAULT_DOCUMENT_SCALE = 10


class UnseedableError(RuntimeError):
    """The database holds firms already, or row-level security keeps their owner from filling it."""


def seed_rows(
    conn: Connection[Any],
    *,
    seed: int = DEFAULT_SEED,
    scale: int = 1,
    document_scale: int | None = None,
    now: datetime | None = None,
) -> Manifest:
    """Fill the application's empty tables in one transaction and return what was planted.

    The same seed, scale and now give the same rows; `now` is the database's, cut to the hour, unless given.
    Raises UnseedableError if there are firms already or row-level security holds for the connection's role: COPY
    does not work under it, and the views would be filled with nothing.
    """
    document_scale = default_document_scale(scale) if document_scale is None else document_scale
    with conn.transaction():
        world = World(conn, now=now, seed=seed)
        if now is None:
            world.now = world.now.replace(minute=0, second=0, microsecond=0)
        if is_seeded(conn):
            raise UnseedableError("the application's tables already hold firms: reset them first")
        if world.isolated:
            raise UnseedableError("row-level security is on: seed first, then turn it on")
        manifest = Manifest(seed=seed, scale=scale, now=world.now.isoformat())
        documents = files.planned_documents()
        for number, script in enumerate(FIRMS, start=1):
            cast = engage(world, script)
            manifest.firms[cast.firm.id] = script.status
            tell(cast, manifest, [plan for plan in documents if plan.firm == number])
            if script.status in IN_BUSINESS:
                multiply(cast, manifest, scale=scale, document_scale=document_scale)
        for orphan in files.ORPHANS:
            note = "an object without a row; as old as its upload, so found with no grace period only"
            manifest.discrepancies.append(
                Discrepancy(
                    files.JOB, "orphan_object", orphan.firm, "", f"{orphan.bucket}/{orphan.key}", note
                )
            )
        for view in VIEWS:
            conn.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(view)))
    conn.execute("ANALYZE")
    return manifest


def seed_objects(s3: Any, *, document_scale: int) -> int:
    """Put the demo's objects that are not in S3 yet and return their number."""
    documents = list(files.planned_documents())
    for number, script in enumerate(FIRMS, start=1):
        if script.status in IN_BUSINESS:
            documents += files.bulk_documents(number, document_scale)
    return files.put_objects(s3, documents)


def is_seeded(conn: Connection[Any]) -> bool:
    """Tell whether there are firms."""
    return conn.execute("SELECT EXISTS (SELECT FROM firm_firm)").fetchone() == (True,)


def default_document_scale(scale: int) -> int:
    """Return how far documents follow the scale by themselves: each is an object to upload."""
    return min(scale, MAX_DEFAULT_DOCUMENT_SCALE)


def empty_tables(conn: Connection[Any]) -> None:
    """Delete every row of the application's tables and start their keys at 1 again."""
    names = conn.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tableowner = current_user"
    ).fetchall()
    statement = sql.SQL("TRUNCATE {} RESTART IDENTITY").format(
        sql.SQL(", ").join(sql.Identifier(name) for (name,) in names)
    )
    conn.execute(statement)
