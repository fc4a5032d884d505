"""Clients of outside systems: the application's database, S3, mail; more arrive with their domains."""
