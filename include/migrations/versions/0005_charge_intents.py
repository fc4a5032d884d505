"""Charge intents: the row that is written before a client is charged."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

CHARGE_INTENT = """
CREATE TABLE cp_ops.charge_intent (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    firm_id          bigint NOT NULL,
    invoice_id       bigint NOT NULL,
    attempt          integer NOT NULL CHECK (attempt > 0),
    idempotency_key  text NOT NULL UNIQUE,
    amount           bigint NOT NULL CHECK (amount > 0),
    currency         text NOT NULL,
    payment_method   text NOT NULL,
    customer         text NOT NULL DEFAULT '',
    stripe_invoice   text NOT NULL DEFAULT '',
    state            text NOT NULL CHECK (state IN (
                         'planned', 'submitting', 'unknown', 'processing', 'requires_action', 'succeeded', 'failed')),
    payment_intent   text NOT NULL DEFAULT '',
    code             text NOT NULL DEFAULT '',
    decline_class    text NOT NULL DEFAULT '',
    created_at       timestamptz NOT NULL,
    created_by_run   bigint NOT NULL,
    submitted_at     timestamptz,
    settled_at       timestamptz,
    attached         boolean,
    UNIQUE (invoice_id, attempt)
);
COMMENT ON TABLE cp_ops.charge_intent IS
    'One row per attempt to charge an invoice, committed before Stripe is called; amount in Stripe''s units';
COMMENT ON COLUMN cp_ops.charge_intent.state IS
    'planned: nothing was sent; submitting, unknown: it may have happened; requires_action: the client must authenticate';
COMMENT ON COLUMN cp_ops.charge_intent.attached IS
    'Whether the payment was attached to the Stripe invoice; null: not yet, or there is none';
CREATE UNIQUE INDEX charge_intent_open ON cp_ops.charge_intent (invoice_id)
    WHERE state NOT IN ('succeeded', 'failed');
CREATE INDEX charge_intent_unfinished ON cp_ops.charge_intent (firm_id)
    WHERE state NOT IN ('succeeded', 'failed') OR (state = 'succeeded' AND stripe_invoice <> '' AND attached IS NULL);
CREATE INDEX charge_intent_run ON cp_ops.charge_intent (created_by_run);
"""


def upgrade() -> None:
    """Create the table."""
    op.execute(CHARGE_INTENT)
