"""execute_retention_policies: what firms no longer want to keep is archived, anonymised or deleted.

What can go wrong: a row that is deleted is gone, with its children and its stored objects. A document under legal hold
must never go. One firm's policy must not touch another firm's rows, nor the sessions, which belong to no firm.

Principle: what becomes of a row is decided in one place, the SQL template `disposition`. It is asked when the rows are
counted, when they are collected, and once more when they are locked, because people work on meanwhile. Whatever is not
understood keeps its rows: an unknown data type, a key that nobody listed, a firm without a known day.

Transactions: each batch is one transaction. It locks its rows (one that the application holds is left for the next run),
deletes children before parents, writes down the objects to delete, and counts itself in the policy's log row. Objects go
after their rows have committed. A killed run leaves whole batches, and objects that are written down.

Read: `policies.py` (which policies apply, and up to which day), the template `disposition`
(what becomes of a row), `plan.py` (its words, and the plan), `job.py`.

| related | what there is |
|---|---|
| `covered_tables.py` | data type to tables, and to the children that go with a row or are detached |
| `coverage.py` | what keeps a policy from being carried out: no table, an unknown key, a missing index |
| `rows.py`, `deletion.py` | one table's rows: survey, collect, lock, look again, act |
| `webhooks_and_sessions.py` | the same for rows that have statements of their own |
| `execution.py` | batches within the time, and the log row in core_retention_executions |
| `object_deletion.py` | the objects whose rows are gone |
"""
