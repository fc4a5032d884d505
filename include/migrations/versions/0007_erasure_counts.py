"""Erasures by request and entity, since a restored backup hands out ids again; what was erased so far."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

ERASURE = """
ALTER TABLE cp_ops.erasure DROP CONSTRAINT erasure_firm_id_request_id_key;
ALTER TABLE cp_ops.erasure ADD CONSTRAINT erasure_request_entity UNIQUE (firm_id, request_id, scope_type, entity_id);
ALTER TABLE cp_ops.erasure ADD COLUMN counts jsonb NOT NULL DEFAULT '{}';
ALTER TABLE cp_ops.erasure ADD COLUMN earlier_plans text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN cp_ops.erasure.plan_sha256 IS 'The plan that was approved, also when the erasure was resumed';
COMMENT ON COLUMN cp_ops.erasure.counts IS
    'Rows per table, and object versions, that the erasure under way has erased: each number commits with its rows';
COMMENT ON COLUMN cp_ops.erasure.earlier_plans IS
    'Plans under which it was begun before the one of plan_sha256 was approved';
"""


def upgrade() -> None:
    """Alter the table."""
    op.execute(ERASURE)
