"""export_user_data: everything that the database holds about one user, in one archive.

What can go wrong: the archive misses a table, holds a secret, or holds somebody else's data. A colleague, another firm
that knows the same address, and a person whose account bears the same address must not be in it. An archive that is
damaged, half written, or handed out without a record of the access is worse than none.

Principle: what is not known stays out and is named. Rows and columns follow the personal-data map. A column that the map
does not know and whose name promises a secret, or whose key leads to a person, is withheld. An address leads anywhere
only inside the user's own firms, and only if no other account bears it.

Transactions: one snapshot finds, counts and writes, so that nothing in the archive is older or newer than the rest. The
archive is then read again and held against its manifest. The access is recorded in transactions of their own, one per
tenant, before the archive gets its name: a killed run leaves no archive without a record.

Read: `plan.py`, `job.py`, `person.py` (under which ids the user is known), `selection.py` (which rows and columns),
`extract.py` (the SQL that counts and copies them), `contents.py` (all tables, documents, references, manifest);
`archive.py` and `destination.py` know nothing of persons. `firm_by_firm.py` is needed under row-level security only.
"""
