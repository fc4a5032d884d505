"""Stripe: the local Stripe as a process of its own, holding what the demo world's invoices refer to."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, ClassVar, Self

import psycopg
from typing_extensions import override

from sandbox.service import ProcessService
from sandbox.services.application import Application
from sandbox.stripe_api import DEFAULT_KEY
from sandbox.world.autopay import stripe_specs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sandbox.application import ApplicationDatabase
    from sandbox.supervisor import Sandbox


def fill_account(url: str, database: ApplicationDatabase) -> None:
    """Give the Stripe at `url` what the demo world's invoices refer to, unless its account has something already."""
    if _request(f"{url}/v1/customers?limit=1")["data"]:
        return
    with psycopg.connect(database.owner_dsn) as connection:
        lines = "\n".join(json.dumps(spec) for spec in stripe_specs(connection))
    _request(f"{url}/_sandbox/seed", lines.encode())


def _request(url: str, body: bytes | None = None) -> dict[str, Any]:
    request = urllib.request.Request(url, data=body, headers={"Authorization": f"Bearer {DEFAULT_KEY}"})  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        document: dict[str, Any] = json.loads(answer.read())
    return document


class StripeServer(ProcessService):
    """The local Stripe; its account is kept between starts, and seeded from the application's rows once."""

    name: ClassVar[str] = "stripe"
    after: ClassVar[tuple[str, ...]] = ("application",)

    def __init__(
        self,
        directory: Path,
        *,
        application: Application | None = None,
        port: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(directory, port=port, **options)
        self._application = application

    @classmethod
    @override
    def in_sandbox(cls, sandbox: Sandbox) -> Self:
        port = sandbox.port(cls.name)
        return cls(sandbox.directory(cls.name), application=sandbox.service(Application), port=port)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.host}:{self.port}"

    @override
    def command(self, port: int) -> Sequence[str]:
        state = str(self.directory / "account")
        return (sys.executable, "-m", "sandbox.stripe_api", "--port", str(port), "--state-dir", state)

    @override
    def healthy(self) -> bool:
        try:
            return bool(_request(f"{self.url}/_sandbox/health")["status"] == "ok")
        except (urllib.error.URLError, OSError):
            return False

    @override
    def start(self) -> None:
        super().start()
        if self._application is not None:
            fill_account(self.url, self._application.database)

    def connection(self) -> dict[str, object]:
        """Return Airflow's connection to this server, as its JSON form."""
        return {"conn_type": "generic", "password": DEFAULT_KEY, "extra": {"base_url": self.url}}

    @override
    def environment(self) -> dict[str, str]:
        return {"AIRFLOW_CONN_STRIPE_DEFAULT": json.dumps(self.connection()), "CP_OPS_STRIPE_URL": self.url}
