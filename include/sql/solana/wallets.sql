-- name: wallets
-- Payments with their wallet, prices and what cp_ops knows of the wallet; no keys. Those of some statuses or states, of a
-- span of expiration dates, or by wallet id.
SELECT wallet.id AS wallet_id,
       wallet.state,
       payment.id AS payment_id,
       payment.payment_address AS address,
       payment.status,
       payment.expiration_date AS expires_at,
       (
           SELECT coalesce(jsonb_agg(jsonb_build_array(token.id, token.mint_address, price.amount_in_crypto::text)
                                     ORDER BY price.id), '[]')
           FROM {payment_prices} AS link
           JOIN {prices} AS price ON price.id = link.solanapaypaymentcryptoprice_id
           JOIN {tokens} AS token ON token.id = price.token_id
           WHERE link.{payment_column} = payment.id
       ) AS prices,
       transfer.signature AS moved_by,
       coalesce(transfer.moves, 0) AS moves,
       transfer.moved_at,
       EXISTS (SELECT FROM cp_ops.solana_transfer WHERE wallet_id = wallet.id AND open) AS in_flight,
       inspection.accounts AS extra_accounts
FROM {payments} AS payment
JOIN {wallets} AS wallet ON wallet.id = payment.one_time_payment_wallet_id
LEFT JOIN cp_ops.solana_wallet_inspection AS inspection ON inspection.wallet_id = wallet.id
LEFT JOIN LATERAL (
    SELECT count(*) AS moves,
           max(sent.resolved_at) AS moved_at,
           (array_agg(sent.signature ORDER BY moved.id DESC)
               FILTER (WHERE moved.lamports > 0 OR moved.tokens <> '{{}}'))[1] AS signature
    FROM cp_ops.solana_transfer AS moved
    JOIN cp_ops.solana_transaction AS sent ON sent.id = moved.transaction_id AND sent.state = 'landed'
    WHERE moved.wallet_id = wallet.id
) AS transfer ON true
WHERE (%(statuses)s::text[] IS NULL OR payment.status = ANY(%(statuses)s::text[]))
  AND (%(states)s::text[] IS NULL OR wallet.state = ANY(%(states)s::text[]))
  AND (%(expired_by)s::timestamptz IS NULL OR payment.expiration_date <= %(expired_by)s::timestamptz)
  AND (%(expired_after)s::timestamptz IS NULL OR payment.expiration_date > %(expired_after)s::timestamptz)
  AND (%(wallet_ids)s::bigint[] IS NULL OR wallet.id = ANY(%(wallet_ids)s::bigint[]))
ORDER BY payment.expiration_date, payment.id
LIMIT %(limit)s::bigint

-- name: emptied_uninspected
-- Wallets in a last state whose token accounts were never listed one by one, the newest first.
SELECT wallet.id AS wallet_id
FROM {wallets} AS wallet
JOIN {payments} AS payment ON payment.one_time_payment_wallet_id = wallet.id
WHERE wallet.state = ANY(%(states)s::text[])
  AND NOT EXISTS (SELECT FROM cp_ops.solana_wallet_inspection WHERE wallet_id = wallet.id)
ORDER BY payment.expiration_date DESC, wallet.id DESC
LIMIT %(limit)s::bigint

-- name: listed_mints
-- Every mint that a token of the deployment names, active or not.
SELECT DISTINCT mint_address FROM {tokens} WHERE mint_address IS NOT NULL ORDER BY mint_address

-- name: accept_payments
-- Accept initiated payments: status, signature and token, the wallet's state and the event, all or nothing for each; a row
-- that another process holds or has changed is left alone.
WITH wanted AS (
    SELECT * FROM unnest(%(payment_ids)s::bigint[], %(signatures)s::text[], %(token_ids)s::bigint[], %(mints)s::text[],
                         %(amounts)s::numeric[])
             AS wanted (payment_id, signature, token_id, mint, amount)
), held AS (
    SELECT payment.id, payment.one_time_payment_wallet_id AS wallet_id, wanted.*
    FROM {payments} AS payment
    JOIN {wallets} AS wallet ON wallet.id = payment.one_time_payment_wallet_id
    JOIN wanted ON wanted.payment_id = payment.id
    WHERE payment.status = 'initiated'
    FOR UPDATE OF payment, wallet SKIP LOCKED
), accepted AS (
    UPDATE {payments} AS payment
    SET status = %(status)s::text, signature = held.signature, paid_token_id = held.token_id,
        updated = %(now)s::timestamptz
    FROM held WHERE held.id = payment.id
), moved AS (
    UPDATE {wallets} AS wallet SET state = 'processing_funds', updated = %(now)s::timestamptz
    FROM held WHERE held.wallet_id = wallet.id
), announced AS (
    INSERT INTO cp_ops.solana_payment_event
        (payment_id, kind, status, signature, mint, amount, occurred_at, run_id)
    SELECT payment_id, 'accepted', %(status)s::text, signature, mint, amount, %(now)s::timestamptz, %(run_id)s::bigint
    FROM held
    ON CONFLICT (payment_id, kind) DO NOTHING
)
SELECT payment_id FROM held

-- name: expire_payments
-- Let initiated payments expire, their wallets and the event with them; a row that another process holds or has changed is
-- left alone.
WITH held AS (
    SELECT payment.id, payment.one_time_payment_wallet_id AS wallet_id
    FROM {payments} AS payment
    JOIN {wallets} AS wallet ON wallet.id = payment.one_time_payment_wallet_id
    WHERE payment.id = ANY(%(payment_ids)s::bigint[]) AND payment.status = 'initiated'
      AND payment.expiration_date <= %(now)s::timestamptz
    FOR UPDATE OF payment, wallet SKIP LOCKED
), expired AS (
    UPDATE {payments} AS payment SET status = 'expired', updated = %(now)s::timestamptz
    FROM held WHERE held.id = payment.id
), moved AS (
    UPDATE {wallets} AS wallet SET state = 'payment_expired', updated = %(now)s::timestamptz
    FROM held WHERE held.wallet_id = wallet.id
), announced AS (
    INSERT INTO cp_ops.solana_payment_event (payment_id, kind, status, occurred_at, run_id)
    SELECT id, 'expired', 'expired', %(now)s::timestamptz, %(run_id)s::bigint FROM held
    ON CONFLICT (payment_id, kind) DO NOTHING
)
SELECT id AS payment_id FROM held

-- name: settle_wallets
-- Give wallets the state that the chain shows; a wallet whose state or payment has changed since, or that is held by
-- another process, is left alone.
WITH wanted AS (
    SELECT * FROM unnest(%(wallet_ids)s::bigint[], %(states)s::text[], %(statuses)s::text[], %(targets)s::text[],
                         %(swept)s::boolean[])
             AS wanted (wallet_id, state, status, target, swept)
), held AS (
    SELECT wanted.*
    FROM {wallets} AS wallet
    JOIN {payments} AS payment ON payment.one_time_payment_wallet_id = wallet.id
    JOIN wanted ON wanted.wallet_id = wallet.id
    WHERE wallet.state = wanted.state AND payment.status = wanted.status
    FOR UPDATE OF wallet SKIP LOCKED
)
UPDATE {wallets} AS wallet
SET state = held.target, updated = %(now)s::timestamptz,
    receiver_address = CASE WHEN held.swept THEN %(receiver)s::text ELSE wallet.receiver_address END
FROM held WHERE held.wallet_id = wallet.id
RETURNING wallet.id AS wallet_id

-- name: lock_claims
-- Let one process at a time claim wallets: what it claims commits before the next one looks.
SELECT pg_advisory_xact_lock(hashtext('cp_ops.solana.claims'))

-- name: claim_keys
-- The stored keys of wallets that are still as planned and that no undecided transaction holds; their rows stay locked
-- until the intent commits.
SELECT wallet.id AS wallet_id, wallet.keypair_json #>> '{{}}' AS stored_key
FROM {wallets} AS wallet
JOIN {payments} AS payment ON payment.one_time_payment_wallet_id = wallet.id
JOIN unnest(%(wallet_ids)s::bigint[], %(states)s::text[], %(statuses)s::text[]) AS planned (wallet_id, state, status)
  ON (planned.wallet_id, planned.state, planned.status) = (wallet.id, wallet.state, payment.status)
WHERE NOT EXISTS (SELECT FROM cp_ops.solana_transfer WHERE wallet_id = wallet.id AND open)
FOR UPDATE OF wallet SKIP LOCKED

-- name: record_transactions
-- Write signed transactions down before they are sent. The same bytes may be there already: a refused transaction signed
-- again within its slot, or the same one of another run; it is open again then, unless it has landed.
INSERT INTO cp_ops.solana_transaction (command, run_id, signature, wire, last_valid_block_height, fee_lamports)
SELECT %(command)s::text, %(run_id)s::bigint, signed.*
FROM unnest(%(signatures)s::text[], %(wires)s::bytea[], %(heights)s::bigint[], %(fees)s::bigint[]) AS signed
ON CONFLICT (signature) DO UPDATE
SET state = CASE solana_transaction.state WHEN 'landed' THEN 'landed' ELSE 'open' END, error = ''
RETURNING id, signature

-- name: record_transfers
-- Write down what each wallet gives in which transaction.
INSERT INTO cp_ops.solana_transfer (transaction_id, wallet_id, payment_id, lamports, rent_lamports, tokens)
SELECT * FROM unnest(
    %(transaction_ids)s::bigint[], %(wallet_ids)s::bigint[], %(payment_ids)s::bigint[], %(lamports)s::bigint[],
    %(rents)s::bigint[], %(tokens)s::jsonb[]
)

-- name: open_transactions
-- Transactions that nobody knows the end of yet, oldest first.
SELECT id, signature, wire, last_valid_block_height, fee_lamports
FROM cp_ops.solana_transaction WHERE state = 'open' ORDER BY id

-- name: resolve_transactions
-- Note what became of transactions, and free their wallets.
WITH known AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(states)s::text[], %(errors)s::text[]) AS known (id, state, error)
), resolved AS (
    UPDATE cp_ops.solana_transaction AS sent
    SET state = known.state, error = known.error, resolved_at = clock_timestamp()
    FROM known WHERE sent.id = known.id AND sent.state = 'open'
    RETURNING sent.id
)
UPDATE cp_ops.solana_transfer AS transfer SET open = false
FROM resolved WHERE transfer.transaction_id = resolved.id

-- name: record_inspections
-- Remember that wallets were looked at closely, and the token accounts beside the listed ones.
INSERT INTO cp_ops.solana_wallet_inspection (wallet_id, accounts, inspected_at)
SELECT wallet_id, coalesce(string_to_array(nullif(accounts, ''), ','), '{{}}'), %(now)s::timestamptz
FROM unnest(%(wallet_ids)s::bigint[], %(accounts)s::text[]) AS inspected (wallet_id, accounts)
ON CONFLICT (wallet_id) DO UPDATE SET accounts = EXCLUDED.accounts, inspected_at = EXCLUDED.inspected_at

-- name: open_wallet_findings
-- The open findings about wallets as they stand.
SELECT subject FROM cp_ops.finding
WHERE command = %(ledger)s AND kind = ANY(%(kinds)s::text[]) AND resolved_at IS NULL
