"""Mail: delivery/ sends what the jobs of all domains have put into the outbox (runtime/outbox.py)."""
