"""cp_ops_housekeeping: the package's own old records go, so that its schema does not grow for ever.

What can go wrong: The row of a running run is deleted. It is that run's lease and fence, so a second run would begin
beside it. An open finding is deleted, and the same thing is reported as new the next day.

The principle: Only what has ended is ever deleted. The statements themselves hold that, so that no plan and no setting
can ask for more (`include/sql/upkeep/housekeeping.sql`). The cutoff is the start of a day in UTC, which makes the plan the
same all day.

Transactions: Each batch of rows is one. A run that is interrupted leaves the rest to the next.

Read `plan.py` for what is due, then `job.py`.
"""
