"""Transactions on Solana that were signed, what each wallet gives in them, payment events, wallets looked at closely."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

TRANSACTION = """
CREATE TABLE cp_ops.solana_transaction (
    id                       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    command                  text NOT NULL,
    run_id                   bigint NOT NULL,
    signature                text NOT NULL UNIQUE,
    wire                     bytea NOT NULL,
    last_valid_block_height  bigint NOT NULL,
    fee_lamports             bigint NOT NULL,
    state                    text NOT NULL DEFAULT 'open'
                             CHECK (state IN ('open', 'landed', 'failed', 'rejected', 'expired')),
    error                    text NOT NULL DEFAULT '',
    created_at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at              timestamptz
);
COMMENT ON TABLE cp_ops.solana_transaction IS
    'A signed transaction, committed before it is sent; open until the chain says what became of it';
COMMENT ON COLUMN cp_ops.solana_transaction.state IS
    'landed: done; failed: in a block with an error; rejected: refused before it could land; expired: its blockhash '
    'is too old to land any more. Only after one of the last three may its wallets be signed for again';
CREATE INDEX solana_transaction_open ON cp_ops.solana_transaction (id) WHERE state = 'open';
"""

TRANSFER = """
CREATE TABLE cp_ops.solana_transfer (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id  bigint NOT NULL REFERENCES cp_ops.solana_transaction,
    wallet_id       bigint NOT NULL,
    payment_id      bigint NOT NULL,
    lamports        bigint NOT NULL,
    rent_lamports   bigint NOT NULL,
    tokens          jsonb NOT NULL,
    open            boolean NOT NULL DEFAULT true
);
COMMENT ON TABLE cp_ops.solana_transfer IS 'What one wallet gives in a transaction, in lamports and minor units by mint';
CREATE UNIQUE INDEX solana_transfer_claim ON cp_ops.solana_transfer (wallet_id) WHERE open;
COMMENT ON INDEX cp_ops.solana_transfer_claim IS 'A wallet is in one undecided transaction at most, whoever signs';
CREATE INDEX solana_transfer_wallet ON cp_ops.solana_transfer (wallet_id, id DESC);
CREATE INDEX solana_transfer_transaction ON cp_ops.solana_transfer (transaction_id);
"""

EVENT = """
CREATE TABLE cp_ops.solana_payment_event (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id     bigint NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('accepted', 'expired')),
    status         text NOT NULL,
    signature      text,
    mint           text,
    amount         numeric,
    occurred_at    timestamptz NOT NULL,
    run_id         bigint NOT NULL,
    announced_at   timestamptz,
    webhook_state  text NOT NULL DEFAULT 'pending' CHECK (webhook_state IN ('pending', 'delivered', 'failed')),
    attempts       integer NOT NULL DEFAULT 0,
    due_at         timestamptz NOT NULL DEFAULT now(),
    last_error     text NOT NULL DEFAULT '',
    UNIQUE (payment_id, kind)
);
COMMENT ON TABLE cp_ops.solana_payment_event IS
    'A payment that cp_ops accepted or let expire: committed with the payment row, announced at least once';
CREATE INDEX solana_payment_event_announce ON cp_ops.solana_payment_event (id) WHERE announced_at IS NULL;
CREATE INDEX solana_payment_event_webhook ON cp_ops.solana_payment_event (due_at) WHERE webhook_state = 'pending';
"""

INSPECTION = """
CREATE TABLE cp_ops.solana_wallet_inspection (
    wallet_id     bigint PRIMARY KEY,
    accounts      text[] NOT NULL,
    inspected_at  timestamptz NOT NULL
);
COMMENT ON TABLE cp_ops.solana_wallet_inspection IS
    'Wallets whose token accounts were listed one by one; accounts: those beside the listed associated ones';
"""


def upgrade() -> None:
    """Create the tables."""
    for statements in (TRANSACTION, TRANSFER, EVENT, INSPECTION):
        op.execute(statements)
