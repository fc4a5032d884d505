-- name: refresh
-- Refresh a view; readers wait until it is done.
REFRESH MATERIALIZED VIEW {view}

-- name: refresh_concurrently
-- Refresh a view; readers see the old rows until it is done.
REFRESH MATERIALIZED VIEW CONCURRENTLY {view}

-- name: count
-- How many rows a view has.
SELECT count(*) AS rows FROM {view}
