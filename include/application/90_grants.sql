-- What the roles of the jobs may do with the application's tables: read and change rows, and refresh the reporting
-- views, nothing else. Run by the owner of the tables. cp_ops bypasses row-level security, cp_ops_rls is subject to it;
-- whoever sets up the server creates them, and a role that does not exist is passed over.
--
-- Refreshing takes the privilege MAINTAIN, new in PostgreSQL 17. Before, only the owner of a view can: a superuser makes
-- cp_ops the owner, which is also what a deployment with row-level security needs, as a refresh reads as the owner.
DO $$
DECLARE
    grantee text;
BEGIN
    FOR grantee IN SELECT rolname FROM pg_roles WHERE rolname IN ('cp_ops', 'cp_ops_rls') LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', grantee);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO %I', grantee);
        EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO %I', grantee);
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', grantee
        );
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO %I', grantee);
        IF current_setting('server_version_num')::integer >= 170000 THEN
            EXECUTE format(
                'GRANT MAINTAIN ON mv_revenue_by_project_month, mv_utilization_by_user_week,'
                ' mv_utilization_by_project_month TO %I', grantee
            );
        END IF;
    END LOOP;
END
$$;
