"""refresh_materialized_views: the three reporting views are refreshed, each on its own, and the application's log is true.

What can go wrong: a refresh reads as the view's owner, and row-level security may hide rows from that role, so that the
view is emptied without an error; a plain refresh waits for a lock, and every later reader waits behind it; a concurrent
refresh of a large view takes several times as long as a plain one; a run that dies leaves its log row "running" for ever.

The principle: everything that decides whether and how a view can be refreshed is read from the catalogue before, without
waiting for a lock. A view that would be refused or emptied fails with the reason and the fix, and stops no other view.

Transactions: each log row is begun in a transaction, each refresh has one of its own with a short lock timeout, and the
log row is finished in a third. So the log tells of a refresh that was rolled back, too.

Read in this order:

- `plan.py`: which view is refused, which is refreshed concurrently, and which log rows of dead runs are closed.
- `job.py`: the refresh itself and its log (`include/sql/finance/views.sql`, and a template per statement on a view).
"""
