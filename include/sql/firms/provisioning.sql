-- name: firm_by_slug
-- The firm that has this slug.
SELECT id, name, slug, status, timezone, currency, subscription_tier AS tier, max_users, max_clients, max_storage_gb,
       created_by_id
FROM firm_firm
WHERE slug = %(slug)s

-- name: firm_by_name
-- The slug of the firm that has this name.
SELECT slug FROM firm_firm WHERE name = %(firm_name)s

-- name: accounts_of_address
-- The accounts that have this address, in whatever case, as e-mail or as user name.
SELECT id, is_active, left(password, 1) = '!' AS without_password
FROM auth_user
WHERE lower(email) = lower(%(email)s) OR lower(username) = lower(%(email)s)
ORDER BY id

-- name: membership_of_accounts
-- What these accounts are in a firm, and how many administrators the firm has.
SELECT membership.user_id, membership.role, membership.is_active
FROM firm_membership AS membership
WHERE membership.firm_id = %(firm_id)s
ORDER BY membership.id

-- name: present_project_templates
-- The codes of a firm's project templates.
SELECT template_code AS key FROM projects_templates WHERE firm_id = %(firm_id)s

-- name: present_email_templates
-- The names of a firm's mail templates.
SELECT name AS key FROM marketing_email_templates WHERE firm_id = %(firm_id)s

-- name: present_retention_policies
-- The data types that a firm has a retention policy for.
SELECT data_type AS key FROM core_retention_policies WHERE firm_id = %(firm_id)s

-- name: present_pipelines
-- A firm's sales pipelines, and how many stages each has.
SELECT pipeline.id, pipeline.name, pipeline.is_default,
       (SELECT count(*) FROM crm_pipeline_stages AS stage WHERE stage.pipeline_id = pipeline.id) AS stages
FROM crm_pipelines AS pipeline
WHERE pipeline.firm_id = %(firm_id)s
ORDER BY pipeline.id

-- name: open_invitation
-- An invitation of an account that can still be used, or whose mail is still on its way.
SELECT invitation.id
FROM cp_ops.invitation
JOIN cp_ops.mail ON mail.invitation_id = invitation.id
WHERE invitation.user_id = %(user_id)s AND invitation.used_at IS NULL
  AND (mail.state IN ('pending', 'sending') OR (mail.state = 'sent' AND invitation.expires_at > %(now)s))
LIMIT 1

-- name: insert_firm
-- Create the firm, on trial; no row when its name or slug was taken meanwhile.
INSERT INTO firm_firm
    (name, slug, status, subscription_tier, trial_ends_at, timezone, currency, max_users, max_clients, max_storage_gb,
     kms_key_id, current_users_count, current_clients_count, current_storage_gb, created_at, updated_at, created_by_id,
     notes)
VALUES (%(firm_name)s, %(slug)s, 'trial', %(tier)s, %(trial_ends_at)s, %(timezone)s, %(currency)s, %(max_users)s,
        %(max_clients)s, %(max_storage_gb)s, '', 1, 0, 0, %(now)s, %(now)s, NULL, '')
ON CONFLICT DO NOTHING
RETURNING id

-- name: insert_account
-- Create the administrator's account; no row when the user name was taken meanwhile.
INSERT INTO auth_user
    (password, last_login, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
VALUES (%(password)s, NULL, false, %(username)s, %(first_name)s, %(last_name)s, %(email)s, false, true, %(now)s)
ON CONFLICT DO NOTHING
RETURNING id

-- name: lock_account
-- Keep an account from being deactivated or deleted until the transaction ends; no row when that has happened.
SELECT id FROM auth_user WHERE id = %(user_id)s AND is_active FOR UPDATE

-- name: set_firm_creator
-- Note the administrator as the firm's creator: what a repair recognises the firm's own administrator by.
UPDATE firm_firm SET created_by_id = %(user_id)s WHERE id = %(firm_id)s

-- name: insert_membership
-- Make the account the firm's administrator.
INSERT INTO firm_membership
    (firm_id, user_id, role, can_manage_users, can_manage_clients, can_manage_billing, can_manage_settings,
     can_view_reports, is_active, invited_by_id, invited_at, last_active_at)
VALUES (%(firm_id)s, %(user_id)s, 'admin', true, true, true, true, true, true, NULL, %(now)s, NULL)
ON CONFLICT (firm_id, user_id) DO NOTHING

-- name: insert_project_templates
-- Create project templates; those whose code the firm has already stay as they are.
INSERT INTO projects_templates
    (firm_id, template_name, template_code, description, category, default_billing_type, default_duration_days,
     default_hourly_rate, template_milestones, is_active, created_by_id, created_at, updated_at)
SELECT %(firm_id)s, entry.template_name, entry.template_code, entry.description, entry.category,
       entry.default_billing_type, entry.default_duration_days, NULL, entry.template_milestones, true, %(user_id)s,
       %(now)s, %(now)s
FROM jsonb_to_recordset(%(rows)s::jsonb) AS entry (template_name text, template_code text, description text,
     category text, default_billing_type text, default_duration_days integer, template_milestones jsonb)
ON CONFLICT (firm_id, template_code) DO NOTHING

-- name: insert_email_templates
-- Create mail templates.
INSERT INTO marketing_email_templates
    (firm_id, name, description, template_type, subject_line, preheader_text, html_content, plain_text_content,
     design_json, available_merge_fields, status, times_used, last_used_at, avg_open_rate, avg_click_rate, created_at,
     updated_at, created_by_id)
SELECT %(firm_id)s, entry.name, entry.description, entry.template_type, entry.subject_line, entry.preheader_text,
       entry.html_content, entry.plain_text_content, '{}', entry.available_merge_fields, 'active', 0, NULL, NULL, NULL,
       %(now)s, %(now)s, %(user_id)s
FROM jsonb_to_recordset(%(rows)s::jsonb) AS entry (name text, description text, template_type text, subject_line text,
     preheader_text text, html_content text, plain_text_content text, available_merge_fields jsonb)

-- name: insert_pipeline
-- Create the default sales pipeline.
INSERT INTO crm_pipelines
    (firm_id, name, description, is_active, is_default, display_order, created_at, updated_at, created_by_id)
VALUES (%(firm_id)s, %(pipeline_name)s, %(description)s, true, true, 0, %(now)s, %(now)s, %(user_id)s)
RETURNING id

-- name: insert_stages
-- Create a pipeline's stages in their order.
INSERT INTO crm_pipeline_stages
    (pipeline_id, name, description, probability, is_active, is_closed_won, is_closed_lost, display_order, auto_tasks,
     created_at, updated_at)
SELECT pipeline.id, entry.name, '', entry.probability, true, entry.is_closed_won, entry.is_closed_lost,
       entry.display_order, '[]', %(now)s, %(now)s
FROM crm_pipelines AS pipeline,
     jsonb_to_recordset(%(rows)s::jsonb) AS entry (name text, probability integer, is_closed_won boolean,
     is_closed_lost boolean, display_order integer)
WHERE pipeline.id = %(pipeline_id)s AND pipeline.firm_id = %(firm_id)s
ON CONFLICT (pipeline_id, name) DO NOTHING

-- name: insert_retention_policies
-- Create retention policies; a data type that the firm has a policy for stays as it is.
INSERT INTO core_retention_policies
    (firm_id, data_type, retention_days, action, only_if_inactive, preserve_legal_hold, is_active, created_at,
     updated_at, created_by_id)
SELECT %(firm_id)s, entry.data_type, entry.retention_days, entry.action, entry.only_if_inactive, true, true, %(now)s,
       %(now)s, %(user_id)s
FROM jsonb_to_recordset(%(rows)s::jsonb) AS entry (data_type text, retention_days integer, action text,
     only_if_inactive boolean)
ON CONFLICT (firm_id, data_type) DO NOTHING

-- name: insert_invitation
-- Create an invitation; its token is made when the mail is handed over.
INSERT INTO cp_ops.invitation (firm_id, user_id, valid_hours, created_by_run)
VALUES (%(firm_id)s, %(user_id)s, %(valid_hours)s, %(run_id)s)
RETURNING id

-- name: close_killed_logs
-- Close the log rows that killed runs of this slug left: their transaction was rolled back, nothing was kept.
UPDATE firm_provisioning_log
SET status = 'rolled_back', completed_at = %(now)s, error_step = 'killed',
    error_message = 'The worker was killed or cut off: the transaction was rolled back, nothing was kept',
    duration_seconds = greatest(0, extract(epoch FROM %(now)s - started_at))::integer
WHERE status = 'in_progress' AND firm_id IS NULL AND correlation_id LIKE 'cp_ops-run-%%'
  AND provisioning_config ->> 'slug' = %(slug)s

-- name: begin_log
-- Open the log row of a run, in a transaction of its own, so that it survives whatever happens.
INSERT INTO firm_provisioning_log
    (firm_id, status, started_at, completed_at, duration_seconds, correlation_id, initiated_by_id, provisioning_config,
     steps_completed, error_message, error_step, metadata)
VALUES (NULL, 'in_progress', %(now)s, NULL, NULL, %(correlation_id)s, NULL, %(config)s, '[]', '', '', %(metadata)s)
RETURNING id

-- name: complete_log
-- Complete the run's log row in the transaction that creates the firm.
UPDATE firm_provisioning_log
SET firm_id = %(firm_id)s, status = 'completed', completed_at = clock_timestamp(), steps_completed = %(steps)s,
    duration_seconds = greatest(0, extract(epoch FROM clock_timestamp() - started_at))::integer
WHERE correlation_id = %(correlation_id)s

-- name: insert_completed_log
-- Write the completed log row at once, where row-level security allows none without a firm.
INSERT INTO firm_provisioning_log
    (firm_id, status, started_at, completed_at, duration_seconds, correlation_id, initiated_by_id, provisioning_config,
     steps_completed, error_message, error_step, metadata)
VALUES (%(firm_id)s, 'completed', %(now)s, clock_timestamp(),
        greatest(0, extract(epoch FROM clock_timestamp() - %(now)s))::integer, %(correlation_id)s, NULL, %(config)s,
        %(steps)s, '', '', %(metadata)s)

-- name: fail_log
-- Record in the run's log row where it failed and why.
UPDATE firm_provisioning_log
SET status = 'failed', completed_at = clock_timestamp(), error_step = %(step)s, error_message = %(error)s,
    duration_seconds = greatest(0, extract(epoch FROM clock_timestamp() - started_at))::integer
WHERE correlation_id = %(correlation_id)s AND status = 'in_progress'
