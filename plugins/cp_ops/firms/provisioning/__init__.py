"""Bring a new firm into the application, with its administrator and what every firm starts with; or repair one.

What can go wrong: half a firm that nobody can log in to, or a second firm for the same request. An administrator may be added
to somebody else's firm. A password or a link may leave a trace in a table, a log or a run's options.

The principle: the slug is the firm's identity. A firm is created whole, in one transaction, or not at all. The same request
again finds what is missing and creates only that, and changes nothing that is there. A firm that exists is touched only
for its own administrator (plan.py).

The transactions, in their order: reading the platform, reading the firm as it sees itself, opening the application's log row,
and one for everything else, with the audit event, the invitation's mail and the completed log row. A log row that is still
in progress after its run is dead says that nothing was kept.

Read options, steps, baseline (what a firm starts with), plan with actions, job, apply. Then log, invitation and passwords.
"""
