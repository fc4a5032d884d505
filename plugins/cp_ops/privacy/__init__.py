"""Personal data and retention: what is deleted when, and what must stay.

Rooms: `erasure` (a person, on request) and `replay` (the same after a restored backup), `export` (what the database holds
about a user), `retention` (what is old enough), `webhook_cleanup`. They share the map of where personal data is
(`personal_data`), the connected database's `catalogue`, and `firm_scope`: which rows are a firm's.
"""
