"""check_stale_deals: a deal without activity carries the stale mark and an open alert, every other deal neither.

What can go wrong: An alert that somebody dismissed comes back every morning, and people stop reading alerts. A deal is
marked while its owner is just logging an activity. One deal that the database refuses keeps all others from being
marked. Days are counted on another calendar than the firm's.

The principle: The plan follows from each deal's state and its alerts, never from what an earlier run did. Every statement
that writes compares the deal once more with the state in which it was planned for, and passes over what has changed. A
person's dismissal is an answer: it silences the alert for the same reason, not for the next one.

Transactions: Deals are read per tenant in one snapshot. Then each batch of deals is one transaction, a deal's mark and
alerts together. A batch that the database refuses is halved until the refused deal stands alone.

Read in this order:

- `plan.py`: when a deal is stale, when its close date is near, which dismissal silences which alert.
- `alerts.py`: what an alert says, and how urgent it is.
- `job.py`: how the plan is read, capped and written (`include/sql/crm/stale_deals.sql`).
"""
