-- name: due_mails
-- What would be sent now: due mails, those whose delivery was cut off, and those given up since a time; oldest first,
-- without addresses or text.
SELECT id, firm_id, kind, state
FROM cp_ops.mail
WHERE (state = 'pending' AND due_at <= %(now)s) OR (state = 'sending' AND claimed_until <= %(now)s)
   OR (state = 'failed' AND forgotten_at IS NULL AND due_at > %(given_up_since)s::timestamptz)
ORDER BY due_at, id
LIMIT %(max_mails)s

-- name: claim_mails
-- Claim some of the planned mails for sending, and tell which have an open finding; rows that another delivery has claimed
-- are passed over, and what was given up starts anew.
UPDATE cp_ops.mail AS mail
SET state = 'sending', attempts = CASE state WHEN 'failed' THEN 1 ELSE attempts + 1 END,
    claimed_until = now() + make_interval(secs => %(seconds)s)
WHERE id IN (
    SELECT id FROM cp_ops.mail
    WHERE id = ANY(%(ids)s)
      AND ((state = 'pending' AND due_at <= %(now)s) OR (state = 'sending' AND claimed_until <= %(now)s)
           OR (state = 'failed' AND forgotten_at IS NULL AND due_at > %(given_up_since)s::timestamptz))
    FOR UPDATE SKIP LOCKED
)
RETURNING id, firm_id, kind, recipient, sender, title, body_text, body_html, attachments, attempts, created_at,
          invitation_id,
          EXISTS (
              SELECT FROM cp_ops.finding
              WHERE finding.command = %(command)s AND finding.kind = 'mail_not_delivered'
                AND COALESCE(finding.firm_id, 0) = COALESCE(mail.firm_id, 0)
                AND finding.subject = 'cp_ops.mail:' || mail.id AND finding.resolved_at IS NULL
          ) AS has_finding

-- name: renew_invitation
-- Give an invitation a new token, of which only the hash is kept, and its full time; none when it was used already.
UPDATE cp_ops.invitation
SET token_sha256 = %(token_sha256)s, expires_at = now() + make_interval(hours => valid_hours)
WHERE id = %(id)s AND used_at IS NULL

-- name: mail_sent
-- Record that the mail server has accepted a mail.
UPDATE cp_ops.mail SET state = 'sent', sent_at = now(), claimed_until = NULL, last_error = '' WHERE id = %(id)s

-- name: mail_deferred
-- Put a mail back for a later attempt.
UPDATE cp_ops.mail
SET state = 'pending', claimed_until = NULL, due_at = now() + make_interval(secs => %(seconds)s), last_error = %(error)s
WHERE id = %(id)s

-- name: mail_failed
-- Give a mail up; due_at becomes the time of that, from which retention and taking it up again count.
UPDATE cp_ops.mail
SET state = 'failed', due_at = now(), claimed_until = NULL, last_error = %(error)s
WHERE id = %(id)s

-- name: release_mails
-- Put claimed mails back untried: the mail server could not be reached, or takes none from us.
UPDATE cp_ops.mail
SET state = 'pending', claimed_until = NULL, attempts = attempts - 1
WHERE id = ANY(%(ids)s) AND state = 'sending'

-- name: forget_mails
-- Remove address and text of mails that were sent or given up long ago; the business key stays.
UPDATE cp_ops.mail
SET recipient = '', title = '', body_text = '', body_html = '', attachments = '[]', forgotten_at = now()
WHERE id IN (
    SELECT id FROM cp_ops.mail
    WHERE forgotten_at IS NULL AND state IN ('sent', 'failed')
      AND COALESCE(sent_at, due_at) < %(now)s::timestamptz - make_interval(days => %(days)s)
    LIMIT 5000
)
