"""stale_deals."""
