"""Upkeep: what the package does for its own schema, `cp_ops`.

One room, `housekeeping`: finished runs and resolved findings are removed once they are old. Nothing of the application
is touched. The delivery of mails (`mail/`) forgets their texts and addresses by itself.
"""
