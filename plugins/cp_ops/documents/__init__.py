"""Documents and their objects in S3."""
