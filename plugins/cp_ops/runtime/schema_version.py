"""The version of schema `cp_ops` that this package works with.

Apart from `migrations.py`, as every run compares it and only `cp_ops_migrate` needs Alembic.
"""

from __future__ import annotations

HEAD = "0007"
"""The newest file in include/migrations/versions."""
