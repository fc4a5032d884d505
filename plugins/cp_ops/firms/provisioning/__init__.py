"""Bring a new firm into the application, with its administrator and what every firm starts with; or repair one.

What can go wrong: half a firm, which nobody can log in to and nobody notices; a second firm for the same request; an
administrator added to somebody else's firm; a password or a link that leaves a trace in a table, a log or a run's options.

The principle: the slug is the firm's identity. A firm is created whole, in one transaction, or not at all. The same request
again finds what is missing and creates only that, and changes nothing that is there. A firm that exists is touched only
for its own administrator (plan.py).

Transactions: reading the platform, then the firm as it sees itself; opening the application's log row; everything else at
once, with the audit event, the invitation's mail and the completed log row. A log row still in progress after its run is dead
says that nothing was kept.

Read options, steps, plan with actions (and baseline: what a firm starts with), job, apply; then log, invitation and passwords.
"""
