-- name: open_deals
-- Open deals of the given firms with the state of their stale and close-date alerts, and whether an alert would reach anybody.
-- A dismissal is a person's unless its automatic date had come: close_alerts sets that date.
WITH firm_with_admin AS (
    SELECT DISTINCT membership.firm_id
    FROM firm_membership AS membership
    JOIN auth_user AS person ON person.id = membership.user_id AND person.is_active
    WHERE membership.firm_id = ANY(%(firm_ids)s::bigint[]) AND membership.is_active
      AND membership.role IN ('firm_admin', 'owner', 'admin')
)
SELECT deal.id, deal.firm_id, deal.name, true AS is_open, deal.is_stale, deal.created_at, deal.last_activity_date,
       deal.expected_close_date, deal.stale_days_threshold,
       deal.firm_id IN (SELECT firm_id FROM firm_with_admin) OR EXISTS (
           SELECT FROM firm_membership AS membership
           JOIN auth_user AS person ON person.id = membership.user_id AND person.is_active
           WHERE membership.firm_id = deal.firm_id AND membership.is_active
             AND (membership.user_id = deal.owner_id OR membership.user_id IN (
                 SELECT team.user_id FROM crm_deals_team_members AS team WHERE team.deal_id = deal.id
             ))
       ) AS reachable,
       alerts.stale_alerts, alerts.close_date_alerts, alerts.stale_dismissed, alerts.close_date_dismissed
FROM crm_deals AS deal
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE alert.alert_type = 'stale' AND NOT alert.is_dismissed) AS stale_alerts,
           count(*) FILTER (WHERE alert.alert_type = 'close_date' AND NOT alert.is_dismissed) AS close_date_alerts,
           max(alert.created_at) FILTER (WHERE alert.alert_type = 'stale' AND by_person) AS stale_dismissed,
           max(alert.created_at) FILTER (WHERE alert.alert_type = 'close_date' AND by_person) AS close_date_dismissed
    FROM crm_deal_alert AS alert
    CROSS JOIN LATERAL (
        SELECT alert.is_dismissed AND (alert.auto_dismiss_date IS NULL OR alert.auto_dismiss_date > alert.updated_at)
    ) AS dismissal (by_person)
    WHERE alert.deal_id = deal.id
) AS alerts
WHERE deal.firm_id = ANY(%(firm_ids)s::bigint[]) AND deal.is_active AND NOT deal.is_won AND NOT deal.is_lost
ORDER BY deal.firm_id, deal.id

-- name: closed_deals_with_open_alerts
-- Deals of the given firms that were won, lost or deactivated and still have an open stale or close-date alert.
SELECT deal.id, deal.firm_id, deal.name, false AS is_open, deal.is_stale, deal.created_at, deal.last_activity_date,
       deal.expected_close_date, deal.stale_days_threshold,
       count(*) FILTER (WHERE alert.alert_type = 'stale') AS stale_alerts,
       count(*) FILTER (WHERE alert.alert_type = 'close_date') AS close_date_alerts
FROM crm_deals AS deal
JOIN crm_deal_alert AS alert ON alert.deal_id = deal.id
WHERE deal.firm_id = ANY(%(firm_ids)s::bigint[]) AND (deal.is_won OR deal.is_lost OR NOT deal.is_active)
  AND alert.alert_type IN ('stale', 'close_date') AND NOT alert.is_dismissed
GROUP BY deal.id
ORDER BY deal.firm_id, deal.id

-- name: set_stale
-- Mark or unmark the planned deals that are still as they were planned for; gives how many per firm.
WITH planned AS (
    SELECT * FROM unnest(%(firm_ids)s::bigint[], %(deal_ids)s::bigint[], %(last_activities)s::date[],
                         %(close_dates)s::date[], %(stale)s::boolean[])
             AS planned (firm_id, deal_id, last_activity_date, expected_close_date, is_stale)
), changed AS (
    UPDATE crm_deals AS deal SET is_stale = planned.is_stale, updated_at = %(now)s::timestamptz
    FROM planned
    WHERE deal.id = planned.deal_id AND deal.firm_id = planned.firm_id
      AND deal.is_active AND NOT deal.is_won AND NOT deal.is_lost
      AND deal.is_stale <> planned.is_stale
      AND deal.last_activity_date IS NOT DISTINCT FROM planned.last_activity_date
    RETURNING deal.firm_id, deal.is_stale
)
SELECT firm_id, CASE WHEN is_stale THEN 'mark_stale' ELSE 'unmark_stale' END AS kind, count(*) AS rows
FROM changed
GROUP BY firm_id, is_stale

-- name: open_alerts
-- Open the planned alerts of deals that are still as planned and have none yet, for owner and team or else the firm's admins.
WITH planned AS (
    SELECT * FROM unnest(%(firm_ids)s::bigint[], %(deal_ids)s::bigint[], %(last_activities)s::date[],
                         %(close_dates)s::date[], %(alert_types)s::text[], %(priorities)s::text[], %(titles)s::text[],
                         %(messages)s::text[])
             AS planned (firm_id, deal_id, last_activity_date, expected_close_date, alert_type, priority, title, message)
), due AS (
    SELECT planned.*, deal.owner_id
    FROM planned
    JOIN crm_deals AS deal ON deal.id = planned.deal_id AND deal.firm_id = planned.firm_id
    WHERE deal.is_active AND NOT deal.is_won AND NOT deal.is_lost
      AND CASE planned.alert_type
              WHEN 'stale' THEN
                  deal.is_stale AND deal.last_activity_date IS NOT DISTINCT FROM planned.last_activity_date
              ELSE deal.expected_close_date = planned.expected_close_date
          END
      AND NOT EXISTS (
          SELECT FROM crm_deal_alert AS known
          WHERE known.deal_id = deal.id AND known.alert_type = planned.alert_type AND NOT known.is_dismissed
      )
    FOR NO KEY UPDATE OF deal
), opened AS (
    INSERT INTO crm_deal_alert
        (deal_id, alert_type, priority, title, message, is_sent, is_acknowledged, is_dismissed, created_at, updated_at)
    SELECT deal_id, alert_type, priority, title, message, false, false, false, %(now)s::timestamptz, %(now)s::timestamptz
    FROM due
    RETURNING id, deal_id, alert_type
), alert AS (
    SELECT opened.id, due.firm_id, due.deal_id, due.owner_id, due.alert_type
    FROM opened
    JOIN due ON due.deal_id = opened.deal_id AND due.alert_type = opened.alert_type
), active_member AS (
    SELECT membership.firm_id, membership.user_id, membership.role
    FROM firm_membership AS membership
    JOIN auth_user AS person ON person.id = membership.user_id AND person.is_active
    WHERE membership.firm_id = ANY(%(firm_ids)s::bigint[]) AND membership.is_active
), concerned AS (
    SELECT alert.id AS alert_id, member.user_id
    FROM alert
    JOIN active_member AS member ON member.firm_id = alert.firm_id AND member.user_id = alert.owner_id
    UNION
    SELECT alert.id, member.user_id
    FROM alert
    JOIN crm_deals_team_members AS team ON team.deal_id = alert.deal_id
    JOIN active_member AS member ON member.firm_id = alert.firm_id AND member.user_id = team.user_id
), told AS (
    INSERT INTO crm_deal_alert_recipients (dealalert_id, user_id)
    SELECT alert_id, user_id FROM concerned
    UNION ALL
    SELECT alert.id, member.user_id
    FROM alert
    JOIN active_member AS member ON member.firm_id = alert.firm_id AND member.role IN ('firm_admin', 'owner', 'admin')
    WHERE alert.id NOT IN (SELECT alert_id FROM concerned)
)
SELECT firm_id, 'open_' || alert_type || '_alert' AS kind, count(*) AS rows
FROM alert
GROUP BY firm_id, alert_type

-- name: close_alerts
-- Dismiss the open alerts of planned deals that are still as they were planned for; gives how many per firm.
-- auto_dismiss_date tells these dismissals from a person's, which silence an alert of the same reason.
WITH planned AS (
    SELECT * FROM unnest(%(firm_ids)s::bigint[], %(deal_ids)s::bigint[], %(last_activities)s::date[],
                         %(close_dates)s::date[], %(alert_types)s::text[], %(are_open)s::boolean[])
             AS planned (firm_id, deal_id, last_activity_date, expected_close_date, alert_type, is_open)
), settled AS (
    SELECT planned.firm_id, planned.deal_id, planned.alert_type
    FROM planned
    JOIN crm_deals AS deal ON deal.id = planned.deal_id AND deal.firm_id = planned.firm_id
    WHERE (deal.is_active AND NOT deal.is_won AND NOT deal.is_lost) = planned.is_open
      AND CASE
              WHEN NOT planned.is_open THEN true
              WHEN planned.alert_type = 'stale' THEN
                  NOT deal.is_stale AND deal.last_activity_date IS NOT DISTINCT FROM planned.last_activity_date
              ELSE deal.expected_close_date = planned.expected_close_date
          END
    FOR NO KEY UPDATE OF deal
), closed AS (
    UPDATE crm_deal_alert AS alert
    SET is_dismissed = true, auto_dismiss_date = %(now)s::timestamptz, updated_at = %(now)s::timestamptz
    FROM settled
    WHERE alert.deal_id = settled.deal_id AND alert.alert_type = settled.alert_type AND NOT alert.is_dismissed
    RETURNING settled.firm_id, settled.alert_type
)
SELECT firm_id, 'close_' || alert_type || '_alert' AS kind, count(*) AS rows
FROM closed
GROUP BY firm_id, alert_type
