"""What several modules of the sandbox's own tests begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sandbox.stripe_api import StripeSandbox


@pytest.fixture
def api(stripe: StripeSandbox) -> Any:
    """Version 1 of the local Stripe's API, through stripe-python, as a new account."""
    return stripe.client().v1
