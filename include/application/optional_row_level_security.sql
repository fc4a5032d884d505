-- Turns row-level security on, as deployments do that isolate their tenants in the database. Not every deployment does:
-- apply it after the other files, as the owner of the tables. Safe to run again.
--
-- Every table with a firm_id key gets one policy for reading and writing, which also holds for the owner (FORCE). Not
-- protected, as in the application: firm_firm, auth_user, children that have no firm column of their own (time entries,
-- tasks, expenses, contacts, deal alerts, stages, workflow executions), the materialized views, finance_mv_refresh_log.
-- A session without app.current_firm_id reads nothing, silently; one in which it is '' fails on every query.
DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY[
        'accounting_customer_sync_mappings', 'accounting_invoice_sync_mappings', 'accounting_oauth_connections',
        'ad_group_mapping', 'ad_provisioning_rule', 'ad_sync_config', 'ad_sync_log', 'ad_user_mapping',
        'automation_workflow', 'automation_workflow_execution', 'calendar_appointment_types', 'calendar_appointments',
        'calendar_booking_links', 'calendar_connections', 'calendar_meeting_workflows', 'clients_chat_thread',
        'clients_client', 'clients_engagement', 'clients_health_score', 'clients_message', 'clients_organization',
        'communications_client_message_thread', 'communications_conversation', 'communications_message',
        'communications_message_attachment', 'communications_message_notification',
        'communications_message_read_receipt', 'communications_participant', 'core_erasure_request',
        'core_purged_content', 'core_retention_executions', 'core_retention_policies', 'crm_account', 'crm_campaigns',
        'crm_contracts', 'crm_deals', 'crm_intake_forms', 'crm_leads', 'crm_pipelines', 'crm_proposals',
        'crm_prospects', 'documents_access_logs', 'documents_comments', 'documents_documents',
        'documents_external_shares', 'documents_file_request_reminders', 'documents_file_requests',
        'documents_folder_comments', 'documents_folders', 'documents_locks', 'documents_share_accesses',
        'documents_share_permissions', 'documents_versions', 'documents_view_logs', 'email_ingestion_artifacts',
        'email_ingestion_connections', 'esignature_envelopes', 'esignature_webhook_events', 'finance_bills',
        'finance_chargeback', 'finance_credit_ledger', 'finance_invoices', 'finance_ledger_entries',
        'finance_payment_allocations', 'finance_payment_dispute', 'finance_payment_failure', 'finance_payments',
        'finance_project_profitability', 'finance_square_webhook_events', 'finance_stripe_webhook_events',
        'firm_audit_events', 'firm_membership', 'firm_provisioning_log', 'knowledge_attachments', 'knowledge_items',
        'marketing_campaign_executions', 'marketing_email_templates', 'onboarding_processes', 'pricing_quote',
        'projects_projects', 'projects_resource_capacity', 'projects_templates', 'sms_conversations', 'sms_messages',
        'sms_opt_outs', 'sms_webhook_events', 'support_surveys', 'support_tickets', 'tracking_event'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', protected);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', protected);
        EXECUTE format('DROP POLICY IF EXISTS firm_isolation ON %I', protected);
        EXECUTE format(
            'CREATE POLICY firm_isolation ON %I'
            ' USING (firm_id = current_setting(''app.current_firm_id'', true)::bigint)'
            ' WITH CHECK (firm_id = current_setting(''app.current_firm_id'', true)::bigint)',
            protected
        );
    END LOOP;
END
$$;
