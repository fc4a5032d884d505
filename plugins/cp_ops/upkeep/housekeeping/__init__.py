"""cp_ops_housekeeping: the package's own old records go, so that schema `cp_ops` does not grow for ever.

What can go wrong: a running run's row is deleted, which is its lease and its fence, so that a second run begins beside it;
an open finding is forgotten, and the same thing is reported as new the next day.

The principle: only what has ended is ever deleted. The statements themselves hold that (`include/sql/upkeep/`), so that
no plan and no setting can ask for more. The cutoff is the start of a day in UTC, which makes a plan the same all day.

Transactions: each batch of rows is one. A run that is interrupted leaves the rest to the next.

Read `plan.py` for what is due, then `job.py`.
"""
