"""Personal data and retention: what is deleted when, and what must stay."""
