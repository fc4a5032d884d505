-- What the roles of the jobs may do with the application's tables: read and change rows, nothing else. Run by the owner
-- of the tables. cp_ops bypasses row-level security, cp_ops_rls is subject to it; whoever sets up the server creates
-- them, and a role that does not exist is passed over.
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
    END LOOP;
END
$$;
