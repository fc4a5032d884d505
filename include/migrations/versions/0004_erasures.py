"""The journal of erasures: what was erased by which request, so that a restored backup can be erased again."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

ERASURE = """
CREATE TABLE cp_ops.erasure (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    firm_id         bigint NOT NULL,
    request_id      bigint NOT NULL,
    scope_type      text NOT NULL CHECK (scope_type IN ('contact', 'account', 'document', 'engagement')),
    entity_id       bigint NOT NULL,
    state           text NOT NULL CHECK (state IN ('started', 'completed')),
    plan_sha256     text NOT NULL,
    started_at      timestamptz NOT NULL,
    started_by_run  bigint NOT NULL,
    completed_at    timestamptz,
    result          jsonb NOT NULL DEFAULT '{}',
    UNIQUE (firm_id, request_id)
);
COMMENT ON TABLE cp_ops.erasure IS
    'The journal of erasures: ids and counts only; with a copy outside the database a restored backup is erased again';
CREATE TABLE cp_ops.erasure_row (
    erasure_id  bigint NOT NULL REFERENCES cp_ops.erasure ON DELETE CASCADE,
    table_name  text NOT NULL,
    row_id      text NOT NULL,
    via         text NOT NULL,
    PRIMARY KEY (erasure_id, table_name, row_id, via)
);
COMMENT ON TABLE cp_ops.erasure_row IS
    'The rows that were approved for erasure, while it is under way: a resumed run touches no others';
"""


def upgrade() -> None:
    """Create the tables."""
    op.execute(ERASURE)
