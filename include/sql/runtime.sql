-- name: session_facts
-- The connection's clock and role; firm 0 is set so that a policy that reads the setting sees nothing instead of failing.
SELECT now() AS now,
       current_user AS role,
       set_config('app.current_firm_id', '0', false) AS current_firm_id

-- name: needed_columns
-- Which of the needed columns, tables and privileges are there, and which tables row-level security guards from this role.
WITH needed AS (
    SELECT * FROM unnest(%(tables)s::text[], %(columns)s::text[], %(privileges)s::text[])
             AS needed (table_name, column_name, privileges)
), found AS (
    SELECT needed.*, to_regclass(needed.table_name)::oid AS oid FROM needed
)
SELECT found.table_name,
       found.column_name,
       found.oid IS NULL AS table_missing,
       NOT EXISTS (
           SELECT FROM pg_attribute
           WHERE attrelid = found.oid AND attname = found.column_name AND attnum > 0 AND NOT attisdropped
       ) AS column_missing,
       ARRAY(
           SELECT privilege FROM unnest(string_to_array(found.privileges, ',')) AS privilege
           WHERE found.oid IS NOT NULL AND NOT has_table_privilege(found.oid, privilege)
       ) AS lacking,
       found.oid IS NOT NULL AND row_security_active(found.oid) AS guarded,
       EXISTS (
           SELECT FROM pg_policy
           WHERE polrelid = found.oid AND pg_get_expr(polqual, polrelid) LIKE '%%app.current_firm_id%%'
       ) AS follows_setting
FROM found

-- name: schema_version
-- The applied version of schema cp_ops.
SELECT version_num FROM cp_ops.alembic_version

-- name: set_current_firm
-- Let the transaction see one firm's rows, where row-level security is on.
SELECT set_config('app.current_firm_id', %(firm_id)s::text, true)

-- name: firms
-- The firms that a run covers: one by id whatever its status, or every active or trial firm.
SELECT id, slug, status, timezone, currency, kms_key_id
FROM firm_firm
WHERE CASE WHEN %(firm_id)s::bigint IS NULL THEN status IN ('active', 'trial') ELSE id = %(firm_id)s END
ORDER BY id

-- name: all_firm_ids
-- Every firm, whatever its status.
SELECT id FROM firm_firm ORDER BY id

-- name: abandon_expired_runs
-- Close the run that holds this lease, and previews, when their heartbeat has stopped; a run that is writing is passed over.
UPDATE cp_ops.job_run
SET state = 'abandoned', finished_at = now(), error = 'no heartbeat: its worker was killed or cut off'
WHERE id IN (
    SELECT id FROM cp_ops.job_run
    WHERE command = %(command)s AND scope = %(scope)s AND state = 'running' AND expires_at <= now()
    FOR UPDATE SKIP LOCKED
)

-- name: begin_run
-- Insert the run's row, unless another one holds the lease of this command and scope.
INSERT INTO cp_ops.job_run
    (command, scope, dry_run, state, holder, attempt, requested_by, options, started_at, expires_at)
VALUES (%(command)s, %(scope)s, %(dry_run)s, 'running', %(holder)s, %(attempt)s, %(requested_by)s, %(options)s,
        clock_timestamp(), clock_timestamp() + make_interval(secs => %(ttl)s))
ON CONFLICT (command, scope) WHERE state = 'running' AND NOT dry_run DO NOTHING
RETURNING id

-- name: running_run
-- Who holds the lease of this command and scope.
SELECT id, holder, attempt, started_at AT TIME ZONE 'UTC' AS started_at
FROM cp_ops.job_run
WHERE command = %(command)s AND scope = %(scope)s AND state = 'running' AND NOT dry_run

-- name: record_refused_run
-- Keep a run that did not start because another one holds the lease.
INSERT INTO cp_ops.job_run
    (command, scope, dry_run, state, holder, attempt, requested_by, options, started_at, expires_at, finished_at,
     outcome, error)
VALUES (%(command)s, %(scope)s, %(dry_run)s, %(state)s, %(holder)s, %(attempt)s, %(requested_by)s, %(options)s,
        now(), now(), now(), %(outcome)s, %(error)s)
RETURNING id

-- name: hold_fence
-- Lock the run's row for this transaction; no row when another run has taken over.
SELECT id FROM cp_ops.job_run WHERE id = %(fence)s AND state = 'running' FOR KEY SHARE

-- name: heartbeat
-- Prolong the lease; no row when another run has taken over.
UPDATE cp_ops.job_run SET expires_at = clock_timestamp() + make_interval(secs => %(ttl)s)
WHERE id = %(fence)s AND state = 'running'

-- name: wait_at_most
-- Do not wait longer than this for a lock, in this transaction.
SELECT set_config('lock_timeout', %(seconds)s::text || 's', true)

-- name: wait_for_fence
-- Wait for the end of every transaction that holds the fence.
SELECT id FROM cp_ops.job_run WHERE id = %(fence)s FOR UPDATE

-- name: finish_run
-- Record how the run ended, which frees its lease; no row when another run has taken over.
UPDATE cp_ops.job_run
SET state = %(state)s, finished_at = clock_timestamp(), outcome = %(outcome)s, plan_sha256 = %(plan_sha256)s,
    error = %(error)s
WHERE id = %(fence)s AND state = 'running'

-- name: insert_run_audit_events
-- One event per firm: always where the run changed or found something, else where the last one is older than the quiet hours.
INSERT INTO firm_audit_events
    (firm_id, category, action, severity, actor_email, actor_role, target_model, target_id, target_repr, timestamp,
     reason, outcome, metadata, user_agent, request_id, review_notes)
SELECT firm.id, %(category)s::text, %(action)s::text, 'INFO', '', 'cp_ops', 'firm.Firm', firm.id::text, '', %(now)s::timestamptz,
       '', 'success', event.metadata, '', %(request_id)s::text, ''
FROM unnest(%(firm_ids)s::bigint[], %(metadata)s::jsonb[], %(eventful)s::boolean[]) AS event (firm_id, metadata, eventful)
JOIN firm_firm AS firm ON firm.id = event.firm_id
WHERE event.eventful OR NOT EXISTS (
    SELECT FROM firm_audit_events AS earlier
    WHERE earlier.firm_id = firm.id AND earlier.action = %(action)s::text
      AND earlier.timestamp > %(now)s::timestamptz - make_interval(hours => %(quiet_hours)s)
)

-- name: create_seen_finding
-- Staging for what this transaction's run has seen.
CREATE TEMPORARY TABLE seen_finding (
    kind text NOT NULL, subject text NOT NULL, firm_id bigint, severity text NOT NULL, proposed_action text NOT NULL,
    details jsonb NOT NULL
) ON COMMIT DROP

-- name: drop_seen_finding
-- Drop the staging, so that a transaction can settle more than once.
DROP TABLE seen_finding

-- name: stage_seen_findings
-- Stage findings from Python.
COPY seen_finding (kind, subject, firm_id, severity, proposed_action, details) FROM STDIN

-- name: count_seen_findings
-- How many different findings were staged.
SELECT count(*) AS findings FROM (SELECT DISTINCT kind, firm_id, subject FROM seen_finding) AS seen

-- name: open_findings
-- Open what has no open finding yet, with one audit event each; gives how many per firm.
WITH opened AS (
    INSERT INTO cp_ops.finding
        (command, kind, subject, firm_id, severity, proposed_action, details, opened_by_run)
    SELECT DISTINCT ON (kind, firm_id, subject)
           %(command)s::text, kind, subject, firm_id, severity, proposed_action, details, %(run_id)s::bigint
    FROM seen_finding
    ORDER BY kind, firm_id, subject
    ON CONFLICT (command, kind, COALESCE(firm_id, 0), subject) WHERE resolved_at IS NULL DO NOTHING
    RETURNING id, kind, subject, firm_id, severity
), audited AS (
    INSERT INTO firm_audit_events
        (firm_id, category, action, severity, actor_email, actor_role, target_model, target_id, target_repr, timestamp,
         reason, outcome, metadata, user_agent, request_id, review_notes)
    SELECT firm_id, %(category)s::text, %(command)s::text || '.finding', severity, '', 'cp_ops', split_part(subject, ':', 1),
           substr(subject, length(split_part(subject, ':', 1)) + 2), '', now(), '', 'found',
           jsonb_build_object('finding', id, 'kind', kind), '', 'cp_ops-run-' || %(run_id)s::text, ''
    FROM opened WHERE firm_id IS NOT NULL
)
SELECT firm_id, count(*) AS findings FROM opened GROUP BY firm_id

-- name: refresh_findings
-- Keep known findings current: changed details at once, the time when last seen once in a while.
UPDATE cp_ops.finding AS known
SET details = seen.details, severity = seen.severity, proposed_action = seen.proposed_action,
    last_seen_at = now(), times_seen = known.times_seen + 1
FROM seen_finding AS seen
WHERE known.command = %(command)s AND known.resolved_at IS NULL AND known.opened_by_run <> %(run_id)s
  AND (known.kind, known.subject) = (seen.kind, seen.subject) AND known.firm_id IS NOT DISTINCT FROM seen.firm_id
  AND ((known.details, known.severity) IS DISTINCT FROM (seen.details, seen.severity)
       OR known.last_seen_at < now() - make_interval(hours => %(hours)s))

-- name: resolve_findings
-- Resolve the open findings that this run examined and did not see; gives how many per firm.
WITH resolved AS (
    UPDATE cp_ops.finding AS known
    SET resolved_at = now(), resolved_by_run = %(run_id)s
    WHERE known.command = %(command)s AND known.resolved_at IS NULL AND known.kind = ANY(%(kinds)s)
      AND (known.firm_id = ANY(%(firm_ids)s) OR known.firm_id IS NULL)
      AND (%(subjects)s::text[] IS NULL OR known.subject = ANY(%(subjects)s))
      AND starts_with(known.subject, %(subject_prefix)s::text)
      AND NOT EXISTS (
          SELECT FROM seen_finding AS seen
          WHERE (seen.kind, seen.subject) = (known.kind, known.subject)
            AND seen.firm_id IS NOT DISTINCT FROM known.firm_id
      )
    RETURNING known.firm_id
)
SELECT firm_id, count(*) AS findings FROM resolved GROUP BY firm_id

-- name: enqueue_mails
-- Put mails into the outbox; a mail whose business key is there already is left as it is.
INSERT INTO cp_ops.mail
    (firm_id, kind, subject_key, step, recipient, recipient_key, sender, title, body_text, body_html, attachments,
     invitation_id, created_by_run)
SELECT mail.firm_id, mail.kind, mail.subject_key, mail.step, mail.recipient, mail.recipient_key, %(sender)s,
       mail.title, mail.body_text, mail.body_html, mail.attachments, mail.invitation_id, %(run_id)s
FROM unnest(%(firm_ids)s::bigint[], %(kinds)s::text[], %(subject_keys)s::text[], %(steps)s::text[],
            %(recipients)s::text[], %(recipient_keys)s::text[], %(titles)s::text[], %(texts)s::text[],
            %(htmls)s::text[], %(attachments)s::jsonb[], %(invitation_ids)s::bigint[])
     AS mail (firm_id, kind, subject_key, step, recipient, recipient_key, title, body_text, body_html, attachments,
              invitation_id)
ON CONFLICT (kind, subject_key, step, recipient_key) DO NOTHING
