"""Stripe, through the Airflow connection `stripe_default`.

    {"conn_type": "generic", "password": "sk_live_...", "extra": {"max_network_retries": 2, "rate_limit": 25}}

`password` is a secret key or a restricted one. `extra`, all optional: `api_version` (what stripe-python pins),
`base_url` (Stripe's), `max_network_retries` (2), `rate_limit` (calls a second and endpoint: 25, Stripe's own limit),
`timeout` (seconds: 80).
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from airflow.sdk import BaseHook

from cp_ops.hooks.connections import connection, extra_of
from cp_ops.hooks.rate_limit import CallLimiter
from cp_ops.hooks.stripe_client import StripeApi
from cp_ops.runtime.errors import ConnectionInvalidError

KEY = re.compile(r"(sk|rk)_(test|live)_\w+|sk_test_sandbox")
KNOWN = {"api_version", "base_url", "max_network_retries", "rate_limit", "timeout"}
RATE_LIMIT = 25.0
"""Calls a second and endpoint, unless the connection says otherwise (docs.stripe.com/rate-limits)."""


class StripeApiHook(BaseHook):
    """Build a client of the Stripe account that a connection names.

    :param conn_id: an Airflow connection.
    """

    default_conn_name = "stripe_default"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.conn_id = conn_id

    def get_conn(self) -> StripeApi:
        """Give the client; nothing is called yet.

        :raises ConnectionMissingError: when the connection is not defined, or cannot be read.
        :raises ConnectionInvalidError: naming what the connection lacks, before the first call.
        """
        key, extra = self._definition()
        per_second = self._number(extra, "rate_limit", RATE_LIMIT)
        return StripeApi(
            key,
            limiter=_limiter(self.conn_id, per_second),
            api_version=extra.get("api_version") or None,
            base_url=self._base_url(extra),
            max_network_retries=int(self._number(extra, "max_network_retries", 2)),
            timeout=self._number(extra, "timeout", 80),
        )

    def _definition(self) -> tuple[str, dict[str, Any]]:
        found = connection(self.conn_id, "its password is Stripe's API key")
        key = (found.password or "").strip()
        if not KEY.fullmatch(key):
            what = "is a publishable key" if key.startswith("pk_") else "is no API key" if key else "is empty"
            raise self._wrong(
                f"its password {what}; it must be a secret key (sk_...) or a restricted one (rk_...)"
            )
        extra = extra_of(
            found, invalid=f"Airflow connection {self.conn_id!r}: its extra is not a JSON object"
        )
        if unknown := extra.keys() - KNOWN:
            raise self._wrong(
                f"extra {', '.join(sorted(unknown))} is not known; known: {', '.join(sorted(KNOWN))}"
            )
        return key, extra

    def _base_url(self, extra: dict[str, Any]) -> str | None:
        url = extra.get("base_url")
        if url and not str(url).startswith(("https://", "http://127.0.0.1", "http://localhost")):
            raise self._wrong(
                "extra base_url must begin with https:// (http is for this machine's own sandbox)"
            )
        return str(url).rstrip("/") if url else None

    def _number(self, extra: dict[str, Any], name: str, default: float) -> float:
        try:
            value = float(extra.get(name, default))
        except (TypeError, ValueError):
            value = -1.0
        if value < 0:
            raise self._wrong(f"extra {name} must be a number, 0 or more")
        return value

    def _wrong(self, problem: str) -> ConnectionInvalidError:
        return ConnectionInvalidError(f"Airflow connection {self.conn_id!r}: {problem}")


@cache
def _limiter(conn_id: str, per_second: float) -> CallLimiter:  # noqa: ARG001 - one per connection and limit
    return CallLimiter(per_second)
