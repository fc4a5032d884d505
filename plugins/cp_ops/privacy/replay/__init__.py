"""Erasing again what a restored backup has brought back.

What can go wrong: a person who was erased is in the database again, and nobody knows. Worse, a restored database hands out
ids again: the row under an erased id may be somebody else by now, and a request under a known id about something else.

The principle: the journal outside the database says what was erased, by ids and until when. A row that was created later
is another one. Only what was completed is erased again. What was begun, and whose end nobody knows, is a finding.

Transactions: every entry is previewed in a snapshot of its own and erased by the steps of `cp_ops.privacy.erasure.execution`.
One entry that fails does not stop the others. Until the plan is accepted only temporary tables are written.

Read `plan` (what becomes of an entry, and why), then `job`.
"""
