"""refresh_materialized_views: the reporting views are refreshed, each on its own, and the application's log is true.

What can go wrong: A refresh reads as the view's owner. Where row-level security hides rows from that role, the view is
emptied without an error. A refresh that waits for its lock makes every later reader wait behind it. A concurrent refresh
of a large view takes several times as long as a plain one. A run that dies leaves its log row "running" for ever.

The principle: Everything that decides whether and how a view can be refreshed is read from the catalogue before, without
waiting for a lock. A view that would be refused or emptied fails with the reason and the fix, and stops no other view.

Transactions: The log row is written in one, the refresh has its own with a short lock timeout, and the log row is
finished in a third. So the log tells of a refresh that was rolled back, too.

Read in this order:

- `plan.py`: which view is refused, which is refreshed concurrently, and which log rows of dead runs are closed.
- `job.py`: the refresh and its log (`include/sql/finance/views.sql`, `include/sql/templates/finance/views.sql`).
"""
