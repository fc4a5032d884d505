-- name: steady_output
-- Let dates, times and numbers read the same whatever the server's and the role's settings are.
SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true),
       set_config('intervalstyle', 'iso_8601', true), set_config('extra_float_digits', '1', true),
       set_config('bytea_output', 'hex', true)

-- name: export_user
-- The account whose data is asked for.
SELECT id, email FROM auth_user WHERE id = %(user_id)s

-- name: user_memberships
-- The firms that the user is or was a member of.
SELECT id, firm_id FROM firm_membership WHERE user_id = %(user_id)s ORDER BY id

-- name: user_portals
-- The clients whose portal the user has.
SELECT id, client_id FROM clients_portal_user WHERE user_id = %(user_id)s ORDER BY id

-- name: portal_clients
-- The firms of those clients.
SELECT id, firm_id FROM clients_client WHERE id = ANY(%(client_ids)s::bigint[]) ORDER BY id

-- name: portal_contacts
-- The contact entries that the user's portal accounts belong to.
SELECT id FROM clients_contact WHERE portal_user_id = ANY(%(portal_user_ids)s::bigint[]) ORDER BY id

-- name: verified_addresses
-- Further addresses of the user, which the user has shown to own.
SELECT email FROM account_emailaddress WHERE user_id = %(user_id)s AND verified ORDER BY email

-- name: shared_addresses
-- Which of the addresses another account bears, too: they do not tell whose a row is.
SELECT DISTINCT lower(email) AS email FROM auth_user
WHERE id <> %(user_id)s AND lower(email) = ANY(%(emails)s::text[])

-- name: documents_query
-- Metadata of the documents that the user's clients see and of those that the user uploaded; names only of the former.
SELECT document.id, document.firm_id,
       CASE WHEN seen.by_client THEN document.name END AS name,
       document.file_type, document.file_size_bytes, document.current_version, document.created_at,
       document.uploaded_by_id IS NOT DISTINCT FROM %(user_id)s::bigint AS uploaded_by_you,
       (
           SELECT coalesce(jsonb_agg(jsonb_build_object(
               'version', version.version_number, 'file_type', version.file_type, 'bytes', version.file_size_bytes,
               'uploaded_at', version.created_at,
               'uploaded_by_you', version.uploaded_by_id IS NOT DISTINCT FROM %(user_id)s::bigint
           ) ORDER BY version.version_number), '[]')
           FROM documents_versions AS version WHERE version.document_id = document.id
       ) AS versions
FROM documents_documents AS document
CROSS JOIN LATERAL (
    SELECT document.client_id = ANY(%(client)s::bigint[]) AND document.visibility = 'client' AS by_client
) AS seen
WHERE seen.by_client OR document.uploaded_by_id = %(user_id)s::bigint
   OR document.id IN (
       SELECT version.document_id FROM documents_versions AS version WHERE version.uploaded_by_id = %(user_id)s::bigint
   )
ORDER BY document.id

-- name: record_export
-- One audit event in each firm whose data the archive holds.
INSERT INTO firm_audit_events
    (firm_id, category, action, severity, actor_email, actor_role, target_model, target_id, target_repr, timestamp,
     reason, outcome, metadata, user_agent, request_id, review_notes)
SELECT firm.id, 'DATA_ACCESS', 'export_user_data', 'INFO', '', 'cp_ops', 'auth.User', %(user_id)s::text, '',
       %(now)s::timestamptz, '', 'success', %(metadata)s::jsonb, '', %(request_id)s::text, ''
FROM firm_firm AS firm WHERE firm.id = ANY(%(firm_ids)s::bigint[])
ORDER BY firm.id
