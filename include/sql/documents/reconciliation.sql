-- name: create_s3_object
-- The current objects of the listed buckets; keys stay in this session's temporary table and go nowhere else.
CREATE TEMPORARY TABLE s3_object (
    object bigint PRIMARY KEY, bucket integer NOT NULL, object_key text NOT NULL, bytes bigint NOT NULL,
    modified timestamptz NOT NULL, has_sha256 boolean NOT NULL
)

-- name: create_s3_fingerprint
-- What an object's fingerprint is under each encryption key in use in its bucket.
CREATE TEMPORARY TABLE s3_fingerprint (
    fingerprint text NOT NULL, key_number integer NOT NULL, object bigint NOT NULL
)

-- name: create_s3_version
-- The document versions of this run: the object that each was matched with, or the verdict on it.
CREATE TEMPORARY TABLE s3_version (
    version_id bigint PRIMARY KEY, firm_id bigint NOT NULL, key_number integer NOT NULL, fingerprint text NOT NULL,
    bytes bigint NOT NULL, newer boolean NOT NULL, object bigint, verdict text, reason text, bucket_fingerprint text,
    delete_marker boolean, recoverable boolean
)

-- name: create_s3_orphan
-- Objects that no row has claimed yet.
CREATE TEMPORARY TABLE s3_orphan (object bigint PRIMARY KEY, bucket integer NOT NULL)

-- name: create_s3_claim
-- Fingerprints, computed after decryption, of rows whose stored fingerprint names no listed object.
CREATE TEMPORARY TABLE s3_claim (fingerprint text NOT NULL)

-- name: create_s3_finding
-- What this run has found.
CREATE TEMPORARY TABLE s3_finding (
    kind text NOT NULL, subject text NOT NULL, firm_id bigint, version_id bigint, fingerprint text,
    bucket_fingerprint text, details jsonb NOT NULL
)

-- name: drop_s3_tables
-- Drop the run's temporary tables.
DROP TABLE s3_object, s3_fingerprint, s3_version, s3_orphan, s3_claim, s3_finding

-- name: firm_keys
-- Every firm, whatever its status, and the encryption key of its own, if any.
SELECT id, kms_key_id FROM firm_firm ORDER BY id

-- name: sample_buckets
-- The bucket of each firm's newest and oldest document version, encrypted.
SELECT firm.id AS firm_id, sample.id AS version_id, sample.s3_bucket
FROM unnest(%(firm_ids)s::bigint[]) AS firm (id)
CROSS JOIN LATERAL (
    (SELECT id, s3_bucket FROM documents_versions
     WHERE firm_id = firm.id ORDER BY document_id DESC, version_number DESC LIMIT 1)
    UNION
    (SELECT id, s3_bucket FROM documents_versions
     WHERE firm_id = firm.id ORDER BY document_id, version_number LIMIT 1)
) AS sample

-- name: copy_objects
-- Take one page of a bucket's listing.
COPY s3_object (object, bucket, object_key, bytes, modified, has_sha256) FROM STDIN

-- name: fingerprint_objects
-- Compute the application's fingerprint of a bucket's objects under one encryption key.
INSERT INTO s3_fingerprint (fingerprint, key_number, object)
SELECT encode(sha256(convert_to(%(key_id)s::text || ':' || %(bucket_name)s::text || ':' || object_key, 'UTF8')), 'hex'),
       %(key_number)s::integer, object
FROM s3_object WHERE bucket = %(bucket)s

-- name: analyze_listing
-- Tell the planner how large the listing is.
ANALYZE s3_object, s3_fingerprint

-- name: analyze_versions
-- Tell the planner how many versions there are.
ANALYZE s3_version

-- name: take_versions
-- Take the firms' document versions, each with the listed object that has its fingerprint under the firm's key.
INSERT INTO s3_version (version_id, firm_id, key_number, fingerprint, bytes, newer, object)
SELECT version.id, version.firm_id, firm.key_number, version.s3_fingerprint, version.file_size_bytes,
       version.created_at >= %(started)s::timestamptz, listed.object
FROM documents_versions AS version
JOIN unnest(%(firm_ids)s::bigint[], %(key_numbers)s::integer[]) AS firm (id, key_number) ON firm.id = version.firm_id
LEFT JOIN s3_fingerprint AS listed
       ON listed.fingerprint = version.s3_fingerprint AND listed.key_number = firm.key_number
      AND version.s3_fingerprint <> ''
WHERE version.firm_id = ANY(%(firm_ids)s::bigint[]) AND version.s3_fingerprint NOT LIKE 'erased-%%'

-- name: rematch_versions
-- Match the versions that are still unmatched with what was listed since.
UPDATE s3_version AS version SET object = listed.object
FROM s3_fingerprint AS listed
WHERE version.object IS NULL AND version.verdict IS NULL AND version.fingerprint <> ''
  AND listed.fingerprint = version.fingerprint AND listed.key_number = version.key_number

-- name: unmatched_versions
-- Versions without an object and without a verdict, a few of each firm first, with their encrypted location.
SELECT ranked.version_id, ranked.firm_id, ranked.fingerprint AS stored_fingerprint, version.s3_bucket, version.s3_key,
       version.id IS NULL AS gone
FROM (
    SELECT version_id, firm_id, fingerprint, row_number() OVER (PARTITION BY firm_id ORDER BY version_id) AS rank
    FROM s3_version
    WHERE object IS NULL AND verdict IS NULL AND NOT newer AND firm_id = ANY(%(firm_ids)s::bigint[])
) AS ranked
LEFT JOIN documents_versions AS version
       ON version.id = ranked.version_id AND version.firm_id = ranked.firm_id
      AND version.s3_fingerprint = ranked.fingerprint
WHERE ranked.rank <= %(per_firm)s
ORDER BY ranked.rank, ranked.version_id
LIMIT %(limit)s

-- name: place_versions
-- Match versions by the fingerprint of their decrypted location; gives the object of each, or null.
UPDATE s3_version AS version
SET object = listed.object, reason = placed.reason, bucket_fingerprint = placed.bucket_fingerprint
FROM unnest(%(version_ids)s::bigint[], %(fingerprints)s::text[], %(reasons)s::text[], %(bucket_fingerprints)s::text[])
     AS placed (version_id, fingerprint, reason, bucket_fingerprint)
LEFT JOIN s3_fingerprint AS listed ON listed.fingerprint = placed.fingerprint
WHERE version.version_id = placed.version_id
RETURNING version.version_id, version.object

-- name: judge_versions
-- Record the verdict on versions.
UPDATE s3_version AS version
SET verdict = judged.verdict, reason = COALESCE(judged.reason, version.reason), delete_marker = judged.delete_marker,
    recoverable = judged.recoverable
FROM unnest(%(version_ids)s::bigint[], %(verdicts)s::text[], %(reasons)s::text[], %(delete_markers)s::boolean[],
            %(recoverables)s::boolean[]) AS judged (version_id, verdict, reason, delete_marker, recoverable)
WHERE version.version_id = judged.version_id

-- name: matched_by_bucket
-- How many versions have their object in each bucket.
SELECT listed.bucket, count(*) AS versions
FROM s3_version AS version JOIN s3_object AS listed USING (object)
GROUP BY listed.bucket

-- name: objects_by_bucket
-- How many objects each bucket's listing has.
SELECT bucket, count(*) AS objects FROM s3_object GROUP BY bucket

-- name: judge_sizes
-- Find the matched versions whose size is not their object's.
UPDATE s3_version AS version SET verdict = 'size_mismatch'
FROM s3_object AS listed
WHERE listed.object = version.object AND version.verdict IS NULL AND listed.bytes <> version.bytes

-- name: judge_fingerprints
-- Find the versions that are matched by their decrypted location only: their stored fingerprint is another one's.
UPDATE s3_version SET verdict = 'unreadable_row'
WHERE object IS NOT NULL AND verdict IS NULL AND reason = 'fingerprint_differs'

-- name: checksum_coverage
-- How many matched versions of the firms have a SHA-256 of their own, and how many of those S3 has none for.
SELECT count(*) FILTER (WHERE version.checksum !~* '^[0-9a-f]{64}$') AS without_own,
       count(*) FILTER (WHERE version.checksum ~* '^[0-9a-f]{64}$' AND NOT listed.has_sha256) AS without_remote
FROM s3_version AS taken
JOIN s3_object AS listed USING (object)
JOIN documents_versions AS version ON version.id = taken.version_id AND version.firm_id = taken.firm_id
WHERE taken.verdict IS NULL AND taken.firm_id = ANY(%(firm_ids)s::bigint[])

-- name: comparable_versions
-- The next matched versions of the firms whose SHA-256 both sides have.
SELECT taken.version_id, listed.bucket, listed.object_key, lower(version.checksum) AS checksum
FROM s3_version AS taken
JOIN s3_object AS listed USING (object)
JOIN documents_versions AS version ON version.id = taken.version_id AND version.firm_id = taken.firm_id
WHERE taken.verdict IS NULL AND listed.has_sha256 AND version.checksum ~* '^[0-9a-f]{64}$'
  AND taken.firm_id = ANY(%(firm_ids)s::bigint[]) AND taken.version_id > %(after)s
ORDER BY taken.version_id
LIMIT %(limit)s

-- name: verdicts
-- How many versions got which verdict.
SELECT CASE WHEN verdict IS NOT NULL THEN verdict
            WHEN object IS NOT NULL THEN 'matched'
            WHEN newer THEN 'newer'
            ELSE 'unjudged' END AS verdict,
       count(*) AS versions
FROM s3_version GROUP BY 1

-- name: take_orphan_candidates
-- Old enough objects that no version of this run has; gives nothing.
INSERT INTO s3_orphan (object, bucket)
SELECT object, bucket FROM s3_object AS listed
WHERE modified < %(modified_before)s
  AND NOT EXISTS (SELECT FROM s3_version AS version WHERE version.object = listed.object)

-- name: analyze_orphans
-- Tell the planner how many candidates there are.
ANALYZE s3_orphan

-- name: fingerprint_candidates
-- Compute the fingerprints of a bucket's unclaimed objects under the encryption keys of other firms.
INSERT INTO s3_fingerprint (fingerprint, key_number, object)
SELECT encode(sha256(convert_to(key.id || ':' || %(bucket_name)s::text || ':' || listed.object_key, 'UTF8')), 'hex'),
       key.number, listed.object
FROM s3_orphan JOIN s3_object AS listed USING (object)
CROSS JOIN unnest(%(key_ids)s::text[], %(key_numbers)s::integer[]) AS key (id, number)
WHERE s3_orphan.bucket = %(bucket)s

-- name: claim_candidates
-- Drop the candidates that a version or document of these firms names; gives which firm has objects in which bucket.
WITH claimed AS (
    SELECT listed.object, named.firm_id
    FROM s3_orphan
    JOIN s3_fingerprint AS listed USING (object)
    JOIN (
        SELECT firm_id, s3_fingerprint FROM documents_versions WHERE firm_id = ANY(%(firm_ids)s::bigint[])
        UNION ALL
        SELECT firm_id, s3_fingerprint FROM documents_documents WHERE firm_id = ANY(%(firm_ids)s::bigint[])
    ) AS named ON named.s3_fingerprint = listed.fingerprint
), dropped AS (
    DELETE FROM s3_orphan USING claimed WHERE s3_orphan.object = claimed.object
    RETURNING s3_orphan.bucket, claimed.firm_id
)
SELECT DISTINCT bucket, firm_id FROM dropped

-- name: unplaced_locations
-- Versions and documents whose stored fingerprint cannot tell whether they name a candidate: empty ones of these firms,
-- and of those that this run covers also the documents that name no listed object.
SELECT firm_id, s3_bucket, s3_key FROM documents_versions
WHERE firm_id = ANY(%(firm_ids)s::bigint[]) AND s3_fingerprint = ''
UNION ALL
SELECT firm_id, s3_bucket, s3_key FROM documents_documents AS document
WHERE firm_id = ANY(%(firm_ids)s::bigint[]) AND s3_fingerprint NOT LIKE 'erased-%%'
  AND (s3_fingerprint = '' OR (firm_id = ANY(%(covered)s::bigint[]) AND NOT EXISTS (
          SELECT FROM s3_fingerprint AS listed WHERE listed.fingerprint = document.s3_fingerprint)))

-- name: copy_claims
-- Take fingerprints that were computed from decrypted locations.
COPY s3_claim (fingerprint) FROM STDIN

-- name: apply_claims
-- Drop the candidates that decrypted locations name.
DELETE FROM s3_orphan USING s3_fingerprint AS listed JOIN s3_claim USING (fingerprint)
WHERE s3_orphan.object = listed.object

-- name: count_orphans
-- How many objects are left unclaimed.
SELECT count(*) AS objects FROM s3_orphan

-- name: bucket_firms
-- Which of this run's firms have objects in which bucket.
SELECT DISTINCT listed.bucket, version.firm_id
FROM s3_version AS version JOIN s3_object AS listed USING (object)

-- name: stage_version_findings
-- Turn the verdicts into findings: fingerprints, sizes and reasons, never a key.
INSERT INTO s3_finding (kind, subject, firm_id, version_id, fingerprint, details)
SELECT version.verdict, 'documents_versions:' || version.version_id, version.firm_id, version.version_id,
       version.fingerprint,
       jsonb_strip_nulls(jsonb_build_object(
           'fingerprint', NULLIF(version.fingerprint, ''),
           'bucket', version.bucket_fingerprint,
           'reason', version.reason,
           'row_bytes', CASE WHEN version.verdict = 'size_mismatch' THEN version.bytes END,
           'object_bytes', CASE WHEN version.verdict = 'size_mismatch' THEN listed.bytes END,
           'delete_marker', NULLIF(version.delete_marker, false),
           'recoverable', NULLIF(version.recoverable, false)))
FROM s3_version AS version LEFT JOIN s3_object AS listed USING (object)
WHERE version.verdict = ANY(%(kinds)s::text[])

-- name: stage_orphan_findings
-- Turn a bucket's unclaimed objects into findings that tell an object by the fingerprint of bucket and key.
INSERT INTO s3_finding (kind, subject, firm_id, bucket_fingerprint, details)
SELECT 'orphan_object',
       's3_object:' || %(bucket_fingerprint)s::text || ':'
           || encode(sha256(convert_to(':' || %(bucket_name)s::text || ':' || listed.object_key, 'UTF8')), 'hex'),
       %(firm_id)s::bigint, %(bucket_fingerprint)s::text,
       jsonb_build_object('bucket', %(bucket_fingerprint)s::text, 'object_bytes', listed.bytes,
                          'last_modified', to_char(listed.modified AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
FROM s3_orphan JOIN s3_object AS listed USING (object)
WHERE s3_orphan.bucket = %(bucket)s

-- name: finding_changes
-- What the ledger would open and resolve, per kind and firm, with a digest over the subjects.
WITH known AS (
    SELECT kind, firm_id, subject FROM cp_ops.finding
    WHERE command = %(command)s::text AND resolved_at IS NULL
      AND ((kind = ANY(%(kinds)s::text[]) AND firm_id = ANY(%(firm_ids)s::bigint[]))
           OR (kind = 'orphan_object' AND split_part(subject, ':', 2) = ANY(%(bucket_fingerprints)s::text[])))
), change AS (
    SELECT 'open' AS change, kind, firm_id, subject FROM s3_finding AS seen
    WHERE NOT EXISTS (SELECT FROM known WHERE (known.kind, known.subject) = (seen.kind, seen.subject)
                                          AND known.firm_id IS NOT DISTINCT FROM seen.firm_id)
    UNION ALL
    SELECT 'resolve', kind, firm_id, subject FROM known
    WHERE NOT EXISTS (SELECT FROM s3_finding AS seen WHERE (known.kind, known.subject) = (seen.kind, seen.subject)
                                                       AND known.firm_id IS NOT DISTINCT FROM seen.firm_id)
)
SELECT change, kind, firm_id, count(*) AS findings,
       encode(sha256(convert_to(string_agg(subject, ',' ORDER BY subject), 'UTF8')), 'hex') AS subjects_sha256
FROM change GROUP BY change, kind, firm_id ORDER BY change, kind, firm_id

-- name: see_version_findings
-- Hand the firms' findings to the ledger, those whose row is still there and as it was.
INSERT INTO seen_finding (kind, subject, firm_id, severity, proposed_action, details)
SELECT found.kind, found.subject, found.firm_id, known.severity, known.proposed_action, found.details
FROM s3_finding AS found
JOIN unnest(%(kinds)s::text[], %(severities)s::text[], %(actions)s::text[]) AS known (kind, severity, proposed_action)
     USING (kind)
JOIN documents_versions AS version
  ON version.id = found.version_id AND version.firm_id = found.firm_id AND version.s3_fingerprint = found.fingerprint
WHERE found.firm_id = ANY(%(firm_ids)s::bigint[])

-- name: see_orphan_findings
-- Hand a bucket's unclaimed objects to the ledger.
INSERT INTO seen_finding (kind, subject, firm_id, severity, proposed_action, details)
SELECT kind, subject, firm_id, %(severity)s::text, %(action)s::text, details
FROM s3_finding WHERE kind = 'orphan_object' AND bucket_fingerprint = %(bucket_fingerprint)s
