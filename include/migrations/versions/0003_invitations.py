"""Invitations to choose a password, and the mails that carry them."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

INVITATION = """
CREATE TABLE cp_ops.invitation (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    firm_id         bigint NOT NULL,
    user_id         integer NOT NULL,
    valid_hours     integer NOT NULL CHECK (valid_hours > 0),
    created_at      timestamptz NOT NULL DEFAULT now(),
    created_by_run  bigint NOT NULL,
    token_sha256    bytea UNIQUE,
    expires_at      timestamptz,
    used_at         timestamptz
);
COMMENT ON TABLE cp_ops.invitation IS
    'Single-use invitations. The token is made when the mail is handed over and kept nowhere but in that mail';
COMMENT ON COLUMN cp_ops.invitation.token_sha256 IS 'sha256 of the newest token; empty until the mail is handed over';
CREATE INDEX invitation_user ON cp_ops.invitation (user_id);
ALTER TABLE cp_ops.mail ADD COLUMN invitation_id bigint REFERENCES cp_ops.invitation;
COMMENT ON COLUMN cp_ops.mail.invitation_id IS
    'The invitation whose link delivery puts in the place of {invitation_token}';
"""

REDEEM = """
CREATE FUNCTION cp_ops.redeem_invitation(token text) RETURNS integer
    LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
        UPDATE cp_ops.invitation SET used_at = clock_timestamp()
        WHERE token_sha256 = sha256(convert_to(token, 'UTF8')) AND used_at IS NULL AND expires_at > clock_timestamp()
        RETURNING user_id
    $$;
COMMENT ON FUNCTION cp_ops.redeem_invitation(text) IS
    'What the application calls with the token of a link: the id of the account that may choose a password now, once;'
    ' NULL for a token that is unknown, used or expired';
REVOKE ALL ON FUNCTION cp_ops.redeem_invitation(text) FROM PUBLIC;
DO $$
DECLARE
    application text := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('auth_user'));
BEGIN
    IF application IS NOT NULL THEN
        EXECUTE format('GRANT USAGE ON SCHEMA cp_ops TO %I', application);
        EXECUTE format('GRANT EXECUTE ON FUNCTION cp_ops.redeem_invitation(text) TO %I', application);
    END IF;
END
$$;
"""


def upgrade() -> None:
    """Create the table and the function that the application redeems an invitation with."""
    for statements in (INVITATION, REDEEM):
        op.execute(statements)
