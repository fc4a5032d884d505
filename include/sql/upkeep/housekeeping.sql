-- name: old_records
-- How many finished runs and resolved findings ended before the cutoff.
SELECT 'job_run' AS "table", count(*) AS records
FROM cp_ops.job_run WHERE state <> 'running' AND finished_at < %(cutoff)s
UNION ALL
SELECT 'finding', count(*) FROM cp_ops.finding WHERE resolved_at < %(cutoff)s

-- name: delete_old_job_run
-- Delete some finished runs that ended before the cutoff; running ones are somebody's lease.
DELETE FROM cp_ops.job_run
WHERE id IN (
    SELECT id FROM cp_ops.job_run WHERE state <> 'running' AND finished_at < %(cutoff)s ORDER BY id LIMIT %(batch)s
)

-- name: delete_old_finding
-- Delete some findings that were resolved before the cutoff; open ones stay however old.
DELETE FROM cp_ops.finding
WHERE id IN (SELECT id FROM cp_ops.finding WHERE resolved_at < %(cutoff)s ORDER BY id LIMIT %(batch)s)
