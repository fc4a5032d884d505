"""Documents and their stored objects. One room: `reconciliation`, which compares the two and only reports."""
