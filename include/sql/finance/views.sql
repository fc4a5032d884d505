-- name: use_utc
-- Read and write times in UTC in this transaction: some deployments keep the refresh log without a time zone.
SELECT set_config('TimeZone', 'UTC', true)

-- name: reporting_views
-- What decides whether and how each view can be refreshed, without waiting for a lock; a refresh reads as the owner.
WITH RECURSIVE wanted AS (
    SELECT name, position, class.oid, class.relkind, class.relowner, class.relispopulated
    FROM unnest(%(views)s::text[]) WITH ORDINALITY AS wanted (name, position)
    LEFT JOIN pg_class AS class ON class.oid = to_regclass(name)
), source (view, relation, reader) AS (
    SELECT wanted.oid, wanted.oid, wanted.relowner FROM wanted WHERE wanted.relkind IN ('m', 'v')
    UNION
    SELECT source.view, depend.refobjid, class.relowner
    FROM source
    JOIN pg_class AS class ON class.oid = source.relation AND class.relkind IN ('m', 'v')
    JOIN pg_rewrite AS rule ON rule.ev_class = class.oid
    JOIN pg_depend AS depend
      ON depend.classid = 'pg_rewrite'::regclass AND depend.objid = rule.oid
     AND depend.refclassid = 'pg_class'::regclass AND depend.refobjid <> class.oid
)
SELECT wanted.name,
       COALESCE(wanted.relkind = 'm', false) AS materialized,
       wanted.oid IS NOT NULL AS present,
       COALESCE(pg_get_userbyid(wanted.relowner), '') AS owner,
       current_user::text AS role,
       wanted.oid IS NOT NULL AND has_table_privilege(wanted.oid, 'SELECT') AS may_read,
       wanted.oid IS NOT NULL AND (
           pg_has_role(wanted.relowner, 'USAGE')
           OR CASE WHEN current_setting('server_version_num')::integer >= 170000
                   THEN has_table_privilege(wanted.oid, 'MAINTAIN') ELSE false END
       ) AS may_refresh,
       COALESCE(wanted.relispopulated, false) AS populated,
       EXISTS (
           SELECT FROM pg_index
           WHERE indrelid = wanted.oid AND indisunique AND indisvalid AND indimmediate
             AND indpred IS NULL AND indexprs IS NULL
       ) AS has_unique_index,
       (
           SELECT log.rows_affected FROM finance_mv_refresh_log AS log
           WHERE log.view_name = wanted.name AND log.refresh_status = 'success'
           ORDER BY log.refresh_started_at DESC
           LIMIT 1
       ) AS rows,
       ARRAY(
           SELECT DISTINCT guarded.relname::text
           FROM source
           JOIN pg_class AS guarded ON guarded.oid = source.relation AND guarded.relrowsecurity
           JOIN pg_roles AS reader ON reader.oid = source.reader AND NOT reader.rolsuper AND NOT reader.rolbypassrls
           WHERE source.view = wanted.oid
             AND (guarded.relforcerowsecurity OR NOT pg_has_role(reader.oid, guarded.relowner, 'USAGE'))
           ORDER BY 1
       ) AS hidden_tables
FROM wanted
ORDER BY wanted.position

-- name: stale_refresh_logs
-- Log rows marked running whose refresh is over: begun a while ago, and no session has or awaits a refresh's lock.
SELECT log.id, log.view_name
FROM finance_mv_refresh_log AS log
WHERE log.view_name = ANY(%(views)s::text[]) AND log.refresh_status = 'running'
  AND log.refresh_started_at < now() - make_interval(secs => %(grace)s)
  AND NOT EXISTS (
      SELECT FROM pg_locks AS lock
      WHERE lock.locktype = 'relation' AND lock.mode IN ('ExclusiveLock', 'AccessExclusiveLock')
        AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND lock.relation IN (SELECT oid FROM pg_class WHERE relname = log.view_name)
  )
ORDER BY log.id

-- name: close_stale_refresh_logs
-- Close log rows of dead runs.
UPDATE finance_mv_refresh_log
SET refresh_status = 'failed', refresh_completed_at = clock_timestamp(), error_message = %(error)s::text
WHERE id = ANY(%(ids)s::bigint[]) AND refresh_status = 'running'

-- name: begin_refresh_log
-- Record that a refresh begins.
INSERT INTO finance_mv_refresh_log
    (view_name, firm_id, refresh_started_at, refresh_completed_at, refresh_status, rows_affected, error_message, triggered_by)
VALUES (%(view)s, NULL, clock_timestamp(), NULL, 'running', NULL, '', %(triggered_by)s)
RETURNING id

-- name: finish_refresh_log
-- Record how a refresh ended.
UPDATE finance_mv_refresh_log
SET refresh_completed_at = clock_timestamp(), refresh_status = %(status)s,
    rows_affected = LEAST(%(rows)s::bigint, 2147483647), error_message = %(error)s::text
WHERE id = %(id)s
RETURNING EXTRACT(epoch FROM refresh_completed_at - refresh_started_at)::float8 AS seconds

-- name: wait_at_most
-- Give up on a lock soon: while a refresh waits for its lock, every reader that comes later waits behind it.
SELECT set_config('lock_timeout', %(seconds)s::text || 's', true)
