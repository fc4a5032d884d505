"""reconcile_s3: document versions and the objects of the buckets are compared both ways, and reported.

What can go wrong: a wrong account or a short listing makes every document look lost. One firm's object looks like an
orphan because only another firm's row names it. An object's key, which tells whose it is, gets into a log or a finding.

Principle: nothing is deleted, and nothing is concluded from a reading that cannot be the whole truth (`require_...` in
plan.py). Locations are encrypted, so versions are matched with objects by fingerprint, in PostgreSQL; only what stays
unmatched is decrypted. An object is an orphan only if no row of any firm names it. Keys stay in temporary tables.

Transactions: reads and temporary tables only, also in a dry run, until the plan is accepted. Then the findings of each
tenant, and of each bucket, are settled in a transaction of their own.

Why is an object missing, or an orphan? `plan.py` says which verdicts there are and what is believed. Then:

| question | read |
|---|---|
| missing, unreadable, gone, arrived | `matching.py`, with `placement.py` for the decrypted location |
| orphan | `orphans.py` |
| size, wrong fingerprint | the statements `judge_sizes`, `judge_fingerprints` |
| altered contents | `checksums.py` |

`listing.py` lists the buckets, `firm_keys.py` knows the firms' encryption keys, `job.py` puts it all in order.
"""
