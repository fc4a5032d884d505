"""Objects that are to be deleted after their rows."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

OBJECT_DELETION = """
CREATE TABLE cp_ops.object_deletion (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    firm_id         bigint NOT NULL,
    command         text NOT NULL,
    subject         text NOT NULL,
    s3_bucket       text NOT NULL,
    s3_key          text NOT NULL,
    s3_fingerprint  text NOT NULL,
    kms_key_id      text NOT NULL,
    decided_at      timestamptz NOT NULL DEFAULT now(),
    decided_by_run  bigint NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    last_error      text NOT NULL DEFAULT ''
);
COMMENT ON TABLE cp_ops.object_deletion IS
    'Decided in the transaction that deletes the row which names the object; gone when the object is';
COMMENT ON COLUMN cp_ops.object_deletion.s3_key IS 'As the application stores it: encrypted where its row was';
CREATE INDEX object_deletion_firm ON cp_ops.object_deletion (firm_id, id);
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(OBJECT_DELETION)
