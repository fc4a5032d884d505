-- name: latest_runs
-- The last run of each command, dry runs apart.
SELECT * FROM (
    SELECT DISTINCT ON (command, dry_run)
           id, command, scope, dry_run, state, requested_by, started_at, finished_at, error, outcome
    FROM cp_ops.job_run
    WHERE %(command)s::text IS NULL
    ORDER BY command, dry_run, started_at DESC
) AS latest
ORDER BY command, dry_run
LIMIT %(rows)s

-- name: runs_of_command
-- The last runs of one command, newest first.
SELECT id, command, scope, dry_run, state, requested_by, started_at, finished_at, error, outcome
FROM cp_ops.job_run
WHERE command = %(command)s::text
ORDER BY started_at DESC
LIMIT %(rows)s

-- name: open_findings
-- Open findings, the gravest and oldest first.
SELECT id, command, kind, subject, firm_id, severity, proposed_action, details, opened_at, last_seen_at
FROM cp_ops.finding
WHERE resolved_at IS NULL AND (%(command)s::text IS NULL OR command = %(command)s::text)
ORDER BY array_position(ARRAY['CRITICAL', 'WARNING', 'INFO'], severity), opened_at, id
LIMIT %(rows)s

-- name: mails_by_state
-- The outbox: how many mails are in which state, and the oldest of them.
SELECT state, count(*) AS mails, min(created_at) AS oldest FROM cp_ops.mail GROUP BY state ORDER BY state
