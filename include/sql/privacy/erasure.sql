-- name: erasure_request
-- A request with what decides whether it may be executed.
SELECT request.id, request.firm_id, request.status, request.scope_type, request.scope_entity_id AS entity_id,
       request.requested_by_id, request.approved_by_id, request.approved_at
FROM core_erasure_request AS request
WHERE request.id = %(request_id)s AND request.firm_id = ANY(%(firm_ids)s)

-- name: journal_entry
-- What the journal says of a request over an entity.
SELECT id, state, plan_sha256 FROM cp_ops.erasure
WHERE firm_id = %(firm_id)s AND request_id = %(request_id)s AND scope_type = %(scope_type)s
  AND entity_id::text = %(entity_id)s

-- name: contact_of_firm
-- The contact, if it is one of the firm's.
SELECT contact.id FROM clients_contact AS contact
JOIN clients_client AS client ON client.id = contact.client_id
WHERE contact.id = %(entity_id)s AND client.firm_id = %(firm_id)s

-- name: account_of_firm
-- The client, if it is one of the firm's.
SELECT id FROM clients_client WHERE id = %(entity_id)s AND firm_id = %(firm_id)s

-- name: document_of_firm
-- The document, if it is one of the firm's.
SELECT id FROM documents_documents WHERE id = %(entity_id)s AND firm_id = %(firm_id)s

-- name: engagement_of_firm
-- The engagement, if its client is one of the firm's.
SELECT engagement.id FROM clients_engagement AS engagement
JOIN clients_client AS client ON client.id = engagement.client_id
WHERE engagement.id = %(entity_id)s AND client.firm_id = %(firm_id)s

-- name: entity_created
-- Since when the row is there that has an entity's id now; no row when the firm has none of that id.
SELECT created_at FROM (
    SELECT 'contact' AS scope_type, contact.id, client.firm_id, contact.created_at FROM clients_contact AS contact
    JOIN clients_client AS client ON client.id = contact.client_id
    UNION ALL
    SELECT 'account', id, firm_id, created_at FROM clients_client
    UNION ALL
    SELECT 'document', id, firm_id, created_at FROM documents_documents
    UNION ALL
    SELECT 'engagement', engagement.id, client.firm_id, engagement.created_at FROM clients_engagement AS engagement
    JOIN clients_client AS client ON client.id = engagement.client_id
) AS entity
WHERE scope_type = %(scope_type)s AND id = %(entity_id)s AND firm_id = %(firm_id)s

-- name: same_address_contacts
-- The firm's contacts with the address of this one: the same person, at another client of the firm.
SELECT other.id FROM clients_contact AS contact
JOIN clients_contact AS other ON lower(other.email) = lower(contact.email) AND other.email <> ''
JOIN clients_client AS client ON client.id = other.client_id
WHERE contact.id = %(entity_id)s AND client.firm_id = %(firm_id)s

-- name: accounts_of_their_own
-- Which accounts nothing else in this firm's sight needs: not staff, no membership, no portal of another client.
SELECT account.id
FROM auth_user AS account
WHERE account.id = ANY(%(user_ids)s) AND NOT account.is_staff AND NOT account.is_superuser
  AND NOT EXISTS (SELECT FROM firm_membership AS membership WHERE membership.user_id = account.id)
  AND NOT EXISTS (
      SELECT FROM clients_portal_user AS portal
      WHERE portal.user_id = account.id AND NOT portal.id = ANY(%(portal_user_ids)s)
  )

-- name: client_blockers
-- What forbids to erase these clients: open invoices, active engagements and projects, a retainer balance.
SELECT 'open invoices' AS blocker, count(*) AS rows FROM finance_invoices
WHERE client_id = ANY(%(client_ids)s) AND firm_id = %(firm_id)s
  AND status NOT IN ('paid', 'cancelled', 'refunded', 'charged_back')
UNION ALL
SELECT 'active engagements', count(*) FROM clients_engagement
WHERE client_id = ANY(%(client_ids)s) AND status = 'current'
UNION ALL
SELECT 'active projects', count(*) FROM projects_projects
WHERE client_id = ANY(%(client_ids)s) AND firm_id = %(firm_id)s AND status IN ('planning', 'in_progress', 'on_hold')
UNION ALL
SELECT 'retainer balance', count(*) FROM clients_client
WHERE id = ANY(%(client_ids)s) AND firm_id = %(firm_id)s AND (retainer_balance <> 0 OR retainer_hours_balance <> 0)

-- name: engagement_blockers
-- What forbids to erase an engagement: that it is active, its open invoices, its contract's active projects.
SELECT 'active engagements' AS blocker, count(*) AS rows FROM clients_engagement
WHERE id = %(entity_id)s AND status = 'current'
UNION ALL
SELECT 'open invoices', count(*) FROM finance_invoices
WHERE engagement_id = %(entity_id)s AND firm_id = %(firm_id)s
  AND status NOT IN ('paid', 'cancelled', 'refunded', 'charged_back')
UNION ALL
SELECT 'active projects', count(*) FROM projects_projects AS project
JOIN clients_engagement AS engagement ON engagement.contract_id = project.contract_id
WHERE engagement.id = %(entity_id)s AND project.firm_id = %(firm_id)s
  AND project.status IN ('planning', 'in_progress', 'on_hold')

-- name: legal_holds
-- How many of the selected documents are under legal hold.
SELECT count(*) AS rows FROM documents_documents AS document
WHERE document.firm_id = %(firm_id)s AND document.legal_hold
  AND document.id IN (SELECT row_id::bigint FROM erasure_selection WHERE table_name = 'documents_documents')

-- name: lock_documents
-- Lock documents until the transaction ends; how many of them are under legal hold.
SELECT count(*) FILTER (WHERE document.legal_hold) AS rows
FROM (
    SELECT legal_hold FROM documents_documents
    WHERE firm_id = %(firm_id)s AND id = ANY(%(document_ids)s) ORDER BY id FOR UPDATE
) AS document

-- name: object_locations
-- Where the selected documents' objects are, each location once, unless a document that stays is there, too.
WITH location AS (
    SELECT document.id AS document_id, document.s3_bucket, document.s3_key, document.s3_fingerprint
    FROM documents_documents AS document
    WHERE document.firm_id = %(firm_id)s AND document.id = ANY(%(document_ids)s)
    UNION ALL
    SELECT version.document_id, version.s3_bucket, version.s3_key, version.s3_fingerprint
    FROM documents_versions AS version
    WHERE version.firm_id = %(firm_id)s AND version.document_id = ANY(%(document_ids)s)
)
SELECT min(document_id) AS document_id, array_agg(DISTINCT document_id ORDER BY document_id) AS document_ids, s3_bucket, s3_key
FROM location
WHERE s3_key <> '' AND s3_key NOT LIKE 'erased-%%' AND NOT EXISTS (
    SELECT FROM documents_documents AS other
    WHERE other.firm_id = %(firm_id)s AND other.s3_fingerprint = location.s3_fingerprint
      AND location.s3_fingerprint <> '' AND NOT other.id = ANY(%(document_ids)s)
) AND NOT EXISTS (
    SELECT FROM documents_versions AS other
    WHERE other.firm_id = %(firm_id)s AND other.s3_fingerprint = location.s3_fingerprint
      AND location.s3_fingerprint <> '' AND NOT other.document_id = ANY(%(document_ids)s)
)
GROUP BY s3_bucket, s3_key
ORDER BY 1

-- name: create_erasure_selection
-- The rows that the erasure covers, and by which key each was reached; '' is the whole row.
CREATE TEMPORARY TABLE erasure_selection (
    table_name text NOT NULL, row_id text NOT NULL, via text NOT NULL, PRIMARY KEY (table_name, row_id, via)
)

-- name: drop_erasure_selection
-- Drop the selection.
DROP TABLE erasure_selection

-- name: selected_documents
-- The documents that are selected.
SELECT row_id::bigint AS id FROM erasure_selection WHERE table_name = 'documents_documents' ORDER BY 1

-- name: selected_tables
-- How many rows of which table are selected, by key.
SELECT table_name, via, count(*) AS rows FROM erasure_selection GROUP BY table_name, via ORDER BY table_name, via

-- name: newly_selected
-- Rows that are selected now and were not when the erasure was approved.
SELECT count(*) AS rows
FROM erasure_selection AS selected
WHERE NOT EXISTS (
    SELECT FROM cp_ops.erasure_row AS approved
    WHERE approved.erasure_id = %(erasure_id)s
      AND (approved.table_name, approved.row_id) = (selected.table_name, selected.row_id)
)

-- name: begin_erasure
-- Enter the erasure into the journal, or take up one that was started; its counts go on, completed ones have none.
INSERT INTO cp_ops.erasure AS known
    (firm_id, request_id, scope_type, entity_id, state, plan_sha256, started_at, started_by_run)
VALUES (%(firm_id)s, %(request_id)s, %(scope_type)s, %(entity_id)s, 'started', %(plan_sha256)s, %(now)s, %(run_id)s)
ON CONFLICT (firm_id, request_id, scope_type, entity_id) DO UPDATE
SET plan_sha256 = excluded.plan_sha256, started_by_run = excluded.started_by_run, state = 'started',
    earlier_plans = CASE
        WHEN known.state = 'completed' THEN '{}'
        WHEN known.plan_sha256 = excluded.plan_sha256 THEN known.earlier_plans
        ELSE known.earlier_plans || known.plan_sha256
    END
RETURNING id

-- name: begin_replay
-- Enter a replayed entry into the journal as what it is, an erasure that was completed; counts of a killed replay go on.
INSERT INTO cp_ops.erasure AS known
    (firm_id, request_id, scope_type, entity_id, state, plan_sha256, started_at, started_by_run, completed_at)
VALUES (%(firm_id)s, %(request_id)s, %(scope_type)s, %(entity_id)s, 'completed', %(plan_sha256)s, %(executed_at)s,
        %(run_id)s, %(executed_at)s)
ON CONFLICT (firm_id, request_id, scope_type, entity_id) DO UPDATE
SET plan_sha256 = excluded.plan_sha256, state = 'completed', completed_at = excluded.completed_at,
    counts = CASE WHEN known.state = 'completed' THEN known.counts ELSE '{}' END
RETURNING id

-- name: count_erased
-- Add to what the erasure under way has erased.
UPDATE cp_ops.erasure
SET counts = counts || jsonb_build_object(%(counted)s::text, coalesce((counts ->> %(counted)s::text)::bigint, 0) + %(rows)s)
WHERE id = %(erasure_id)s

-- name: erased_so_far
-- What the erasure under way has erased, all runs together, and under which plans.
SELECT counts, plan_sha256, earlier_plans FROM cp_ops.erasure WHERE id = %(erasure_id)s

-- name: approved_tables
-- The tables with rows that were approved for erasure.
SELECT DISTINCT table_name FROM cp_ops.erasure_row WHERE erasure_id = %(erasure_id)s ORDER BY 1

-- name: keep_approved_rows
-- Keep which rows were approved, for a run that resumes.
INSERT INTO cp_ops.erasure_row (erasure_id, table_name, row_id, via)
SELECT %(erasure_id)s, table_name, row_id, via FROM erasure_selection
ON CONFLICT DO NOTHING

-- name: request_executing
-- Mark the request as being executed; no row when it is no longer approved, or somebody took the approval back.
UPDATE core_erasure_request
SET status = 'executing', error_message = '', updated_at = %(now)s
WHERE id = %(request_id)s AND firm_id = %(firm_id)s AND status IN ('approved', 'executing', 'failed')
  AND approved_by_id IS NOT NULL AND approved_by_id IS DISTINCT FROM requested_by_id

-- name: request_failed
-- Say on the request why its execution stopped.
UPDATE core_erasure_request
SET status = 'failed', error_message = %(error)s, updated_at = %(now)s
WHERE id = %(request_id)s AND firm_id = %(firm_id)s AND status = 'executing'

-- name: request_completed
-- Store the result on the request; no row when it is no longer being executed, or is about something else now.
UPDATE core_erasure_request
SET status = 'completed', executed_at = %(now)s, execution_result = %(result)s, error_message = '',
    audit_events = audit_events || jsonb_build_array(jsonb_build_object(
        'event', 'executed', 'at', %(now)s::timestamptz, 'run', %(run_id)s::bigint, 'plan', %(plan_sha256)s::text)),
    updated_at = %(now)s
WHERE id = %(request_id)s AND firm_id = %(firm_id)s AND status = 'executing'
  AND scope_type = %(scope_type)s AND ltrim(scope_entity_id, '0') = %(entity_id)s::bigint::text

-- name: request_replayed
-- Store the result on a request that a restored backup holds as approved or begun: of this very erasure, not of a later
-- one under the same id, or about the same entity.
UPDATE core_erasure_request
SET status = 'completed', executed_at = %(executed_at)s, execution_result = %(result)s, error_message = '',
    audit_events = audit_events || jsonb_build_array(jsonb_build_object(
        'event', 'erased_again', 'at', %(now)s::timestamptz, 'run', %(run_id)s::bigint, 'plan', %(plan_sha256)s::text)),
    updated_at = %(now)s
WHERE id = %(request_id)s AND firm_id = %(firm_id)s AND status IN ('approved', 'executing', 'failed')
  AND scope_type = %(scope_type)s AND ltrim(scope_entity_id, '0') = %(entity_id)s::bigint::text
  AND approved_by_id IS NOT NULL AND approved_by_id IS DISTINCT FROM requested_by_id
  AND created_at <= %(executed_at)s

-- name: complete_erasure
-- Complete the journal's entry; gives when.
UPDATE cp_ops.erasure
SET state = 'completed', completed_at = clock_timestamp(), result = %(result)s, counts = '{}'
WHERE id = %(erasure_id)s
RETURNING completed_at

-- name: complete_replay
-- Add what was erased again to the entry's result.
UPDATE cp_ops.erasure SET result = result || %(result)s, counts = '{}' WHERE id = %(erasure_id)s

-- name: drop_approved_rows
-- Forget which rows were approved: the erasure is complete.
DELETE FROM cp_ops.erasure_row WHERE erasure_id = %(erasure_id)s

-- name: mails_to_forget
-- Mails of the outbox to an erased address, and sent ones to others whose text names it.
SELECT count(*) AS rows FROM cp_ops.mail
WHERE firm_id = %(firm_id)s AND forgotten_at IS NULL AND (
    recipient_key = ANY(%(recipient_keys)s)
    OR (state = 'sent' AND lower(title || ' ' || body_text || ' ' || body_html) LIKE ANY(%(address_patterns)s)
        AND lower(title || ' ' || body_text || ' ' || body_html) ~ ANY(%(address_expressions)s))
)

-- name: forget_mails_of_person
-- Remove address and text of the mails to the person; one that was not sent yet never will be.
UPDATE cp_ops.mail
SET recipient = '', recipient_key = 'erased-' || id, title = '', body_text = '', body_html = '', attachments = '[]',
    forgotten_at = now(), claimed_until = NULL,
    state = CASE WHEN state = 'sent' THEN 'sent' ELSE 'failed' END,
    last_error = CASE WHEN state = 'sent' THEN '' ELSE 'recipient erased' END
WHERE firm_id = %(firm_id)s AND forgotten_at IS NULL AND recipient_key = ANY(%(recipient_keys)s)

-- name: forget_texts_about_person
-- Remove the text of sent mails to others that name an erased address; who got them, and the business key, stay.
UPDATE cp_ops.mail
SET title = '', body_text = '', body_html = '', attachments = '[]'
WHERE firm_id = %(firm_id)s AND forgotten_at IS NULL AND state = 'sent'
  AND lower(title || ' ' || body_text || ' ' || body_html) LIKE ANY(%(address_patterns)s)
  AND lower(title || ' ' || body_text || ' ' || body_html) ~ ANY(%(address_expressions)s)

-- name: lock_request
-- Hold the request and the journal's entry while the erasure completes.
SELECT id FROM core_erasure_request WHERE id = %(request_id)s AND firm_id = %(firm_id)s AND status = 'executing' FOR UPDATE

-- name: deactivate_accounts
-- Close the erased accounts.
UPDATE auth_user SET is_active = false
WHERE is_active AND id IN (SELECT row_id::integer FROM erasure_selection WHERE table_name = 'auth_user' AND via = '')

-- name: column_sizes
-- The longest text that each column takes.
SELECT table_name::text, column_name::text, character_maximum_length AS size
FROM information_schema.columns
WHERE table_schema = current_schema() AND character_maximum_length IS NOT NULL

-- name: completed_erasures
-- The erasures that were completed, oldest first.
SELECT firm_id, request_id, scope_type, entity_id, plan_sha256, completed_at AS executed_at
FROM cp_ops.erasure WHERE completed_at IS NOT NULL ORDER BY completed_at, id

-- name: begun_erasures
-- The erasures that are under way, or were stopped: the database knows of them, and of what became of their requests.
SELECT firm_id, request_id, scope_type, entity_id FROM cp_ops.erasure WHERE state = 'started'

-- name: selected_rows
-- How many rows of which table are selected.
SELECT table_name, count(DISTINCT row_id) AS rows FROM erasure_selection GROUP BY table_name ORDER BY table_name
