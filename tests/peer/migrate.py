"""Create the payment module's tables by its own migrations."""

from __future__ import annotations

import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0, interactive=False)
