-- name: retention_policies
-- The active policies of the given firms, with the time of the last execution of each.
SELECT policy.id, policy.firm_id, policy.data_type, policy.retention_days, policy.action, policy.only_if_inactive,
       (SELECT max(execution.executed_at) FROM core_retention_executions AS execution
        WHERE execution.policy_id = policy.id) AS last_executed_at
FROM core_retention_policies AS policy
WHERE policy.firm_id = ANY(%(firm_ids)s::bigint[]) AND policy.is_active
ORDER BY policy.id

-- name: create_retention_due
-- The rows of one table that are due under one policy, for as long as the policy is carried out.
CREATE TEMPORARY TABLE retention_due (at timestamptz NOT NULL, id bigint NOT NULL, PRIMARY KEY (at, id))

-- name: drop_retention_due
-- Forget them.
DROP TABLE retention_due

-- name: next_due
-- The next rows that were due, oldest first.
SELECT id, at FROM retention_due WHERE (at, id) > (%(after_at)s::timestamptz, %(after_id)s::bigint)
ORDER BY at, id LIMIT %(batch)s

-- name: audit_logs_rows
-- Audit events of a firm before the cutoff.
SELECT event.id, event.timestamp AS at, false AS legal_hold, ''::text AS kept_because, true AS inactive, false AS archived,
       event.actor_email = '' AND event.ip_address IS NULL AND event.user_agent = '' AND event.target_repr = ''
           AS anonymised
FROM firm_audit_events AS event
WHERE event.firm_id = %(firm_id)s::bigint AND event.timestamp < %(cutoff)s::timestamptz

-- name: documents_rows
-- Documents of a firm before the cutoff; a retention period of the document's own prolongs the policy's.
SELECT document.id, age.at, document.legal_hold AS legal_hold,
       CASE
           WHEN age.started + make_interval(years => document.retention_period_years) > %(today)s::date
               THEN 'the document''s own retention period is not over'
           WHEN EXISTS (SELECT FROM documents_locks AS lock WHERE lock.document_id = document.id
                        AND (lock.expires_at IS NULL OR lock.expires_at > %(now)s::timestamptz))
               THEN 'somebody has the document locked'
           ELSE ''
       END AS kept_because,
       document.status IN ('deprecated', 'archived') AS inactive,
       document.status = 'archived' AS archived,
       document.name = 'Anonymised document ' || document.id AND document.description = '' AS anonymised
FROM documents_documents AS document
CROSS JOIN LATERAL (
    SELECT coalesce(document.retention_start_date::timestamp AT TIME ZONE 'UTC', document.created_at) AS at,
           coalesce(document.retention_start_date, (document.created_at AT TIME ZONE 'UTC')::date) AS started
) AS age
WHERE document.firm_id = %(firm_id)s::bigint
  AND CASE WHEN document.retention_start_date IS NULL THEN document.created_at < %(cutoff)s::timestamptz
           ELSE document.retention_start_date < %(cutoff_day)s::date END

-- name: invoices_rows
-- Invoices of a firm that were issued, and paid if they were, before the cutoff; money that is still open keeps one.
SELECT invoice.id, invoice.day::timestamp AT TIME ZONE 'UTC' AS at, false AS legal_hold,
       CASE
           WHEN invoice.status = 'paid' AND invoice.amount_paid >= invoice.total_amount THEN ''
           WHEN invoice.status IN ('cancelled', 'refunded') THEN ''
           ELSE 'not settled'
       END AS kept_because,
       true AS inactive, false AS archived,
       invoice.notes = '' AND invoice.engagement_override_reason = '' AND invoice.dunning_pause_reason = ''
           AND invoice.payment_failure_reason = '' AS anonymised
FROM (
    SELECT finance_invoices.*, greatest(issue_date, paid_date) AS day FROM finance_invoices
    WHERE firm_id = %(firm_id)s::bigint AND issue_date < %(cutoff_day)s::date
) AS invoice
WHERE invoice.day < %(cutoff_day)s::date

-- name: projects_rows
-- Projects of a firm that ended before the cutoff; hours and expenses on an invoice keep one.
SELECT project.id, project.day::timestamp AT TIME ZONE 'UTC' AS at,
       EXISTS (SELECT FROM documents_documents AS document
               WHERE document.project_id = project.id AND document.legal_hold) AS legal_hold,
       CASE
           WHEN project.status NOT IN ('completed', 'cancelled') THEN 'not completed or cancelled'
           WHEN %(action)s::text = 'delete' AND EXISTS (
               SELECT FROM projects_time_entries AS entry
               WHERE entry.project_id = project.id AND (entry.invoiced OR entry.invoice_id IS NOT NULL)
           ) THEN 'has invoiced time entries'
           WHEN %(action)s::text = 'delete' AND EXISTS (
               SELECT FROM projects_expenses AS expense
               WHERE expense.project_id = project.id AND (expense.invoiced OR expense.invoice_id IS NOT NULL)
           ) THEN 'has invoiced expenses'
           ELSE ''
       END AS kept_because,
       true AS inactive, false AS archived,
       project.description = '' AND project.notes = '' AND project.acceptance_notes = '' AS anonymised
FROM (
    SELECT projects_projects.*, coalesce(actual_completion_date, end_date) AS day FROM projects_projects
    WHERE firm_id = %(firm_id)s::bigint
) AS project
WHERE project.day < %(cutoff_day)s::date

-- name: time_entries_rows
-- Time entries of a firm's projects before the cutoff; one that is on an invoice is kept for ever.
SELECT entry.id, entry.date::timestamp AT TIME ZONE 'UTC' AS at, false AS legal_hold,
       CASE WHEN entry.invoiced OR entry.invoice_id IS NOT NULL THEN 'invoiced' ELSE '' END AS kept_because,
       project.status IN ('completed', 'cancelled') AS inactive, false AS archived,
       entry.description = '' AS anonymised
FROM projects_time_entries AS entry
JOIN projects_projects AS project ON project.id = entry.project_id
WHERE project.firm_id = %(firm_id)s::bigint AND entry.date < %(cutoff_day)s::date

-- name: leads_rows
-- Leads of a firm that were made before the cutoff.
SELECT lead.id, lead.created_at AS at, false AS legal_hold, ''::text AS kept_because,
       lead.status IN ('converted', 'lost') AS inactive, false AS archived,
       lead.contact_name = 'Anonymised' AND lead.contact_email = '' AND lead.contact_phone = '' AND lead.notes = ''
           AS anonymised
FROM crm_leads AS lead
WHERE lead.firm_id = %(firm_id)s::bigint AND lead.created_at < %(cutoff)s::timestamptz

-- name: prospects_rows
-- Prospects of a firm that were made, and last spoken to, before the cutoff.
SELECT prospect.id, prospect.created_at AS at, false AS legal_hold, ''::text AS kept_because,
       prospect.stage IN ('won', 'lost') AS inactive, false AS archived,
       prospect.primary_contact_name = 'Anonymised' AND prospect.primary_contact_email = ''
           AND prospect.primary_contact_phone = '' AND prospect.street_address = '' AND prospect.notes = ''
           AS anonymised
FROM crm_prospects AS prospect
WHERE prospect.firm_id = %(firm_id)s::bigint AND prospect.created_at < %(cutoff)s::timestamptz
  AND coalesce(prospect.last_activity_date < %(cutoff_day)s::date, true)

-- name: support_tickets_rows
-- Support tickets of a firm that were closed, or made if they were never closed, before the cutoff.
SELECT ticket.id, ticket.closed AS at, false AS legal_hold, ''::text AS kept_because,
       ticket.status IN ('resolved', 'closed') AS inactive, false AS archived,
       ticket.contact_name = 'Anonymised' AND ticket.contact_email = '' AND ticket.description = '' AS anonymised
FROM (
    SELECT support_tickets.*, coalesce(closed_at, resolved_at, created_at) AS closed FROM support_tickets
    WHERE firm_id = %(firm_id)s::bigint
) AS ticket
WHERE ticket.closed < %(cutoff)s::timestamptz

-- name: email_artifacts_rows
-- Mails that a firm took in and that were sent before the cutoff; a stored or attached document on hold keeps one.
SELECT mail.id, mail.sent_at AS at,
       EXISTS (
           SELECT FROM documents_documents AS document
           WHERE document.legal_hold AND (document.id = mail.storage_ref_id OR document.id IN (
               SELECT attachment.document_id FROM email_ingestion_attachments AS attachment
               WHERE attachment.email_artifact_id = mail.id
           ))
       ) AS legal_hold,
       ''::text AS kept_because, mail.reviewed_at IS NOT NULL OR mail.confirmed_account_id IS NOT NULL AS inactive,
       false AS archived,
       mail.subject = 'Anonymised' AND mail.from_address = '' AND mail.to_addresses = '' AND mail.cc_addresses = ''
           AND mail.body_preview = '' AS anonymised
FROM email_ingestion_artifacts AS mail
WHERE mail.firm_id = %(firm_id)s::bigint AND mail.sent_at < %(cutoff)s::timestamptz

-- name: messages_rows
-- Messages in a firm's conversations before the cutoff; an attached document on hold keeps one.
SELECT message.id, message.created_at AS at,
       EXISTS (
           SELECT FROM communications_message_attachment AS attachment
           JOIN documents_documents AS document ON document.id = attachment.document_id
           WHERE attachment.message_id = message.id AND document.legal_hold
       ) AS legal_hold,
       ''::text AS kept_because,
       EXISTS (SELECT FROM communications_conversation AS conversation
               WHERE conversation.id = message.conversation_id AND conversation.status <> 'active') AS inactive,
       false AS archived, message.body = '' AS anonymised
FROM communications_message AS message
WHERE message.firm_id = %(firm_id)s::bigint AND message.created_at < %(cutoff)s::timestamptz

-- name: client_messages_rows
-- Messages in a firm's chats with its clients before the cutoff.
SELECT message.id, message.created_at AS at, false AS legal_hold, ''::text AS kept_because,
       EXISTS (SELECT FROM clients_chat_thread AS thread
               WHERE thread.id = message.thread_id AND NOT thread.is_active) AS inactive,
       false AS archived, message.content = '' AND message.attachment_url = '' AS anonymised
FROM clients_message AS message
WHERE message.firm_id = %(firm_id)s::bigint AND message.created_at < %(cutoff)s::timestamptz

-- name: sms_messages_rows
-- Text messages of a firm before the cutoff.
SELECT message.id, message.created_at AS at, false AS legal_hold, ''::text AS kept_because,
       EXISTS (SELECT FROM sms_conversations AS conversation
               WHERE conversation.id = message.conversation_id AND conversation.status <> 'active') AS inactive,
       false AS archived,
       message.message_body = '' AND message.from_number = '' AND message.to_number = '' AS anonymised
FROM sms_messages AS message
WHERE message.firm_id = %(firm_id)s::bigint AND message.created_at < %(cutoff)s::timestamptz

-- name: anonymise_audit_logs
-- Take the person out of audit events: that somebody did something stays.
UPDATE firm_audit_events SET actor_email = '', ip_address = NULL, user_agent = '', target_repr = ''
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: anonymise_documents
-- Take what says whose a document is out of its row; the file itself stays.
UPDATE documents_documents
SET name = 'Anonymised document ' || id, description = '', review_notes = '', deprecation_reason = '',
    updated_at = %(now)s::timestamptz
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: archive_documents
-- Mark documents as archived.
UPDATE documents_documents SET status = 'archived', updated_at = %(now)s::timestamptz
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: anonymise_invoices
-- Take the free text out of invoices: amounts, dates and line items are the books.
UPDATE finance_invoices
SET notes = '', engagement_override_reason = '', dunning_pause_reason = '', payment_failure_reason = '',
    updated_at = %(now)s::timestamptz
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: anonymise_projects
-- Take the free text out of projects.
UPDATE projects_projects SET description = '', notes = '', acceptance_notes = '', updated_at = %(now)s::timestamptz
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: anonymise_time_entries
-- Take the free text out of time entries.
UPDATE projects_time_entries SET description = '', updated_at = %(now)s::timestamptz
WHERE id = ANY(%(ids)s::bigint[])

-- name: anonymise_leads
-- Take the person out of leads.
UPDATE crm_leads
SET contact_name = 'Anonymised', contact_email = '', contact_phone = '', contact_title = '', notes = '',
    updated_at = %(now)s::timestamptz
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: anonymise_prospects
-- Take the person out of prospects.
UPDATE crm_prospects
SET primary_contact_name = 'Anonymised', primary_contact_email = '', primary_contact_phone = '',
    primary_contact_title = '', street_address = '', city = '', postal_code = '', notes = '',
    updated_at = %(now)s::timestamptz
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: anonymise_support_tickets
-- Take the person out of support tickets.
UPDATE support_tickets
SET contact_name = 'Anonymised', contact_email = '', subject = 'Anonymised', description = '',
    updated_at = %(now)s::timestamptz
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: anonymise_ticket_comments
-- Take the person out of the comments of support tickets.
UPDATE support_ticket_comments SET comment = '', customer_email = '' WHERE ticket_id = ANY(%(ids)s::bigint[])

-- name: anonymise_ticket_answers
-- Take the person out of the survey answers about support tickets.
UPDATE support_survey_responses SET contact_email = '', contact_name = 'Anonymised', responses = '{}'
WHERE ticket_id = ANY(%(ids)s::bigint[])

-- name: anonymise_email_artifacts
-- Take people and contents out of mails.
UPDATE email_ingestion_artifacts
SET from_address = '', to_addresses = '', cc_addresses = '', subject = 'Anonymised', body_preview = '',
    updated_at = %(now)s::timestamptz
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: anonymise_messages
-- Take the contents out of messages.
UPDATE communications_message SET body = '', updated_at = %(now)s::timestamptz
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: anonymise_client_messages
-- Take the contents out of chat messages.
UPDATE clients_message SET content = '', attachment_url = ''
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: anonymise_sms_messages
-- Take numbers and contents out of text messages.
UPDATE sms_messages SET message_body = '', from_number = '', to_number = '', updated_at = %(now)s::timestamptz
WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint

-- name: intend_object_deletions
-- Write down the objects of documents that are about to be deleted, once each, as they are stored.
INSERT INTO cp_ops.object_deletion
    (firm_id, command, subject, s3_bucket, s3_key, s3_fingerprint, kms_key_id, decided_by_run)
SELECT DISTINCT ON (coalesce(nullif(object.s3_fingerprint, ''), object.s3_bucket || '/' || object.s3_key))
       %(firm_id)s::bigint, %(command)s::text, 'documents_documents:' || object.document_id, object.s3_bucket,
       object.s3_key, object.s3_fingerprint, firm.kms_key_id, %(run_id)s::bigint
FROM (
    SELECT id AS document_id, s3_bucket, s3_key, s3_fingerprint FROM documents_documents
    WHERE id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint
    UNION ALL
    SELECT document_id, s3_bucket, s3_key, s3_fingerprint FROM documents_versions
    WHERE document_id = ANY(%(ids)s::bigint[]) AND firm_id = %(firm_id)s::bigint
) AS object
JOIN firm_firm AS firm ON firm.id = %(firm_id)s::bigint
WHERE object.s3_key <> ''
ORDER BY coalesce(nullif(object.s3_fingerprint, ''), object.s3_bucket || '/' || object.s3_key), object.document_id

-- name: object_deletions
-- The next objects of a firm that are to be deleted; `named` tells whether a remaining row of the firm has the object.
SELECT deletion.id, deletion.subject, deletion.s3_bucket, deletion.s3_key, deletion.kms_key_id,
       deletion.s3_fingerprint <> '' AND (
           EXISTS (SELECT FROM documents_documents AS document WHERE document.firm_id = deletion.firm_id
                   AND document.s3_fingerprint = deletion.s3_fingerprint)
           OR EXISTS (SELECT FROM documents_versions AS version WHERE version.firm_id = deletion.firm_id
                      AND version.s3_fingerprint = deletion.s3_fingerprint)
       ) AS named
FROM cp_ops.object_deletion AS deletion
WHERE deletion.firm_id = %(firm_id)s::bigint AND deletion.command = %(command)s::text
  AND deletion.id > %(after_id)s::bigint
ORDER BY deletion.id
LIMIT %(batch)s

-- name: count_object_deletions
-- How many objects of the given firms are to be deleted.
SELECT count(*) AS objects FROM cp_ops.object_deletion
WHERE firm_id = ANY(%(firm_ids)s::bigint[]) AND command = %(command)s::text

-- name: objects_deleted
-- Forget the objects that are gone.
DELETE FROM cp_ops.object_deletion WHERE id = ANY(%(ids)s::bigint[])

-- name: object_deletion_failed
-- Keep an object that could not be deleted for the next run.
UPDATE cp_ops.object_deletion SET attempts = attempts + 1, last_error = %(error)s::text WHERE id = %(id)s

-- name: expired_sessions
-- Sessions that expired before the cutoff.
SELECT count(*) AS rows, min(expire_date) AS first, max(expire_date) AS last
FROM django_session WHERE expire_date < %(cutoff)s::timestamptz

-- name: delete_sessions
-- Delete the next batch of sessions that expired before the cutoff; one that the application holds is passed over.
WITH batch AS (
    SELECT session_key FROM django_session WHERE expire_date < %(cutoff)s::timestamptz
    ORDER BY expire_date LIMIT %(batch)s FOR UPDATE SKIP LOCKED
)
DELETE FROM django_session USING batch WHERE django_session.session_key = batch.session_key

-- name: check_constraints
-- Let a row that still points at a deleted one fail here and not at the commit.
SET CONSTRAINTS ALL IMMEDIATE

-- name: close_dead_executions
-- Close the log rows of this package's runs that were killed; what they counted is true.
UPDATE core_retention_executions
SET status = 'failed', error_message = 'the run was cut off: the next one went on from there'
WHERE status = 'running' AND execution_result->'run' IS NOT NULL AND firm_id = ANY(%(firm_ids)s::bigint[])

-- name: begin_execution
-- Log that a policy is being executed; the counters move with the batches.
INSERT INTO core_retention_executions
    (firm_id, policy_id, executed_at, records_processed, records_archived, records_anonymized, records_deleted,
     records_skipped, execution_result, error_message, status)
VALUES (%(firm_id)s, %(policy_id)s, %(now)s::timestamptz, 0, 0, 0, 0, %(skipped)s,
        jsonb_build_object('run', %(run_id)s::bigint), '', 'running')
RETURNING id

-- name: count_execution
-- Count a batch in the log row of its policy, in the batch's own transaction.
UPDATE core_retention_executions
SET records_processed = records_processed + %(rows)s,
    records_archived = records_archived + CASE WHEN %(action)s::text = 'archive' THEN %(rows)s ELSE 0 END,
    records_anonymized = records_anonymized + CASE WHEN %(action)s::text = 'anonymize' THEN %(rows)s ELSE 0 END,
    records_deleted = records_deleted + CASE WHEN %(action)s::text = 'delete' THEN %(rows)s ELSE 0 END
WHERE id = %(id)s

-- name: finish_execution
-- End the log row of a policy.
UPDATE core_retention_executions
SET status = %(status)s::text, error_message = %(error)s::text, execution_result = %(result)s::jsonb
WHERE id = %(id)s

-- name: index_facts
-- Of foreign keys and other columns that batches look up: whether an index begins with them, and the table's rows.
SELECT needed.table_name, needed.column_name, greatest(class.reltuples, 0)::bigint AS rows,
       EXISTS (
           SELECT FROM pg_index AS index
           JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid AND attribute.attnum = index.indkey[0]
           WHERE index.indrelid = class.oid AND index.indisvalid AND index.indpred IS NULL
             AND attribute.attname = needed.column_name
       ) AS indexed
FROM unnest(%(tables)s::text[], %(columns)s::text[]) AS needed (table_name, column_name)
JOIN pg_class AS class ON class.oid = to_regclass(needed.table_name)
