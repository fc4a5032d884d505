"""cleanup_webhook_events: processed webhook events go once they are old enough.

What can go wrong: providers deliver an event again for up to 30 days, and the stored event is what keeps a replay from
being processed twice. An event that was never processed, or failed, is work that somebody still has to look at.

Principle: only processed events that are older than the cutoff go. The cutoff is a midnight (UTC), so that a preview
and the run of the same day have the same plan. The statement that deletes asks again whether an event is processed.

Transactions: the backlog is counted first and compared with the cap. Then each batch of one provider and firm is deleted
in a transaction of its own and counted after its commit. A provider's events of one firm that fail do not stop the others.

Read: `plan.py` (what goes, and why), `providers.py` (what differs between the four providers), `job.py`, `events.py`
(the two statements, which the retention policies for webhooks run, too).
"""
