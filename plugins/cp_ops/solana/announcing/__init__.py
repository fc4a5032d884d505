"""announcing."""
