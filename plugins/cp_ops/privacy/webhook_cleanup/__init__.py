"""webhook_cleanup."""
