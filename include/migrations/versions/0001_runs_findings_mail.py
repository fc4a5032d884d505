"""Runs (with their leases), findings, the mail outbox."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

JOB_RUN = """
CREATE TABLE cp_ops.job_run (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    command       text NOT NULL,
    scope         text NOT NULL,
    dry_run       boolean NOT NULL,
    state         text NOT NULL CHECK (state IN ('running', 'success', 'failed', 'skipped', 'abandoned')),
    holder        text NOT NULL,
    attempt       integer NOT NULL,
    requested_by  text NOT NULL,
    options       jsonb NOT NULL,
    started_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    outcome       jsonb,
    plan_sha256   text,
    error         text NOT NULL DEFAULT ''
);
COMMENT ON TABLE cp_ops.job_run IS
    'One row per run: its outcome and, while running, its lease; the id is the fence';
CREATE UNIQUE INDEX job_run_lease ON cp_ops.job_run (command, scope) WHERE state = 'running' AND NOT dry_run;
CREATE INDEX job_run_command ON cp_ops.job_run (command, started_at DESC);
"""

FINDING = """
CREATE TABLE cp_ops.finding (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    command          text NOT NULL,
    kind             text NOT NULL,
    subject          text NOT NULL,
    firm_id          bigint,
    severity         text NOT NULL CHECK (severity IN ('INFO', 'WARNING', 'CRITICAL')),
    proposed_action  text NOT NULL,
    details          jsonb NOT NULL,
    opened_at        timestamptz NOT NULL DEFAULT now(),
    opened_by_run    bigint NOT NULL,
    last_seen_at     timestamptz NOT NULL DEFAULT now(),
    times_seen       integer NOT NULL DEFAULT 1,
    resolved_at      timestamptz,
    resolved_by_run  bigint
);
COMMENT ON TABLE cp_ops.finding IS 'What runs found and a person should know; no personal data';
CREATE UNIQUE INDEX finding_open ON cp_ops.finding (command, kind, COALESCE(firm_id, 0), subject)
    WHERE resolved_at IS NULL;
CREATE INDEX finding_firm ON cp_ops.finding (firm_id, opened_at DESC);
"""

MAIL = """
CREATE TABLE cp_ops.mail (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    firm_id          bigint,
    kind             text NOT NULL,
    subject_key      text NOT NULL,
    step             text NOT NULL,
    recipient        text NOT NULL,
    recipient_key    text NOT NULL,
    sender           text NOT NULL,
    title            text NOT NULL,
    body_text        text NOT NULL,
    body_html        text NOT NULL,
    attachments      jsonb NOT NULL DEFAULT '[]',
    state            text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sending', 'sent', 'failed')),
    attempts         integer NOT NULL DEFAULT 0,
    due_at           timestamptz NOT NULL DEFAULT now(),
    claimed_until    timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    created_by_run   bigint NOT NULL,
    sent_at          timestamptz,
    last_error       text NOT NULL DEFAULT '',
    forgotten_at     timestamptz,
    UNIQUE (kind, subject_key, step, recipient_key)
);
COMMENT ON TABLE cp_ops.mail IS
    'The outbox: a mail is decided in the same transaction as its row, delivered by cp_ops_deliver_mail';
COMMENT ON COLUMN cp_ops.mail.recipient_key IS
    'sha256 of the address in lower case: keeps a mail from being sent twice after its address was forgotten';
COMMENT ON COLUMN cp_ops.mail.forgotten_at IS 'When the text and the address were removed, some time after sending';
CREATE INDEX mail_due ON cp_ops.mail (due_at) WHERE state IN ('pending', 'sending');
CREATE INDEX mail_sent ON cp_ops.mail (sent_at) WHERE forgotten_at IS NULL;
"""


def upgrade() -> None:
    """Create the tables."""
    for statements in (JOB_RUN, FINDING, MAIL):
        op.execute(statements)
