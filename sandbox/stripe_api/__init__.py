"""A faithful local Stripe for stripe-python 16.1.0 (API 2026-10-28.endive), over HTTP on loopback.

In a test::

    with StripeSandbox() as stripe:
        client = stripe.client()
        stripe.faults.add("POST /v1/payment_intents", "drop", when="after")

As a process: ``python -m sandbox.stripe_api --port 0 --state-dir DIR --ready-file FILE``.
"""

from __future__ import annotations

from .account import Settings
from .catalog import API_VERSION
from .faults import Fault
from .keys import DEFAULT_KEY
from .ledger import Ledger, LedgerEntry
from .server import StripeSandbox

__all__ = ["API_VERSION", "DEFAULT_KEY", "Fault", "Ledger", "LedgerEntry", "Settings", "StripeSandbox"]
