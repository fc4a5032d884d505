"""Finance: what clients are billed, what they paid, and the views that report it."""
