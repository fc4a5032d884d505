"""The sandbox as a running server: in a thread for tests, or as a process of its own."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import uvicorn

from . import charging, payment_methods, refunds, seeding
from .account import Account, RequestContext, Settings
from .api import Calls, StripeApi
from .app import ResettableProtocol, build_app
from .disputes import close
from .keys import DEFAULT_KEY, KeyRing
from .shapes import Doc, shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from .clock import SandboxClock
    from .faults import Faults
    from .ledger import Ledger

START_SECONDS = 10.0
LOOPBACK = "127.0.0.1"


def listen(port: int = 0, host: str = LOOPBACK) -> socket.socket:
    """Return a listening socket; port 0 takes a free one."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(256)
    return listener


def make_server(api: StripeApi) -> uvicorn.Server:
    """Return a server for the API; it waits one second for calls under way when it stops."""
    return uvicorn.Server(
        uvicorn.Config(
            build_app(api), http=ResettableProtocol, ws="none", lifespan="off", log_level="error", access_log=False,
            timeout_keep_alive=75, timeout_graceful_shutdown=1,
        )
    )  # fmt: skip


class StripeSandbox:
    """A Stripe on loopback.

    ``with StripeSandbox() as stripe:`` starts it on a free port; ``stripe.client()`` is a stripe-python client of
    it. Settings are given by name, or changed on ``stripe.settings`` while it runs. Without ``state_dir``
    everything is in memory.
    """

    key = DEFAULT_KEY

    def __init__(self, *, state_dir: Path | None = None, port: int = 0, **settings: Any) -> None:
        self.account = Account.open(state_dir, Settings(**settings))
        self.api = StripeApi(self.account, KeyRing(self.account.store))
        self._port = port
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None
        self.url = ""

    def __enter__(self) -> Self:
        listener = listen(self._port)
        self.url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        self._server = make_server(self.api)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="stripe-sandbox", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the Stripe sandbox did not start")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server and self._thread:
            self._server.should_exit = True
            self._thread.join(START_SECONDS)
        self.account.store.close()

    def client(self, key: str = DEFAULT_KEY, *, max_network_retries: int = 0, timeout: float = 10.0) -> Any:
        """Return a ``stripe.StripeClient`` of this sandbox; it retries nothing unless told to."""
        import stripe

        return stripe.StripeClient(
            key,
            base_addresses={"api": self.url},
            max_network_retries=max_network_retries,
            http_client=stripe.RequestsClient(timeout=timeout),
        )

    def reset(self) -> None:
        """Become a new account: no objects, no ledger, no faults, counters at zero, real time, first settings."""
        self.api.reset()

    @property
    def settings(self) -> Settings:
        """How strict and how slow it is."""
        return self.account.settings

    @property
    def clock(self) -> SandboxClock:
        """Its clock."""
        return self.account.clock

    @property
    def ledger(self) -> Ledger:
        """Every successful charge and refund."""
        return self.account.ledger

    @property
    def calls(self) -> Calls:
        """Counters by endpoint."""
        return self.api.calls

    @property
    def faults(self) -> Faults:
        """What is to go wrong."""
        return self.api.faults

    @property
    def keys(self) -> KeyRing:
        """The API keys that it knows."""
        return self.api.keys

    def seed(self, specs: Iterable[Doc]) -> list[str]:
        """Add history in bulk; see ``seeding.seed``."""
        return seeding.seed(self.account, specs)

    def script(self, payment_method: str, *outcomes: str) -> None:
        """Decide how the next attempts with a payment method end (names of ``cards.OUTCOMES``)."""
        with self.account.acting(RequestContext()):
            payment_methods.script(self.account, payment_method, list(outcomes))

    def settle(self, payment_intent: str, result: str | None = None) -> Doc:
        """End a processing payment now: ``succeeded`` or a failure code."""
        with self.account.acting(RequestContext()):
            return shown(charging.settle(self.account, payment_intent, result))

    def authenticate(self, payment_intent: str, *, succeeds: bool = True) -> Doc:
        """Answer the authentication that a payment waits for, as its customer."""
        with self.account.acting(RequestContext()):
            return shown(charging.authenticate(self.account, payment_intent, succeeds=succeeds))

    def dispute(self, charge: str, reason: str = "general", amount: int | None = None) -> Doc:
        """Open a dispute, as the customer's bank does."""
        with self.account.acting(RequestContext()):
            found = self.account.find("charge", charge)
            return shown(charging.open_dispute(self.account, found, reason, amount))

    def close_dispute(self, dispute: str, status: str) -> Doc:
        """End a dispute as the bank decides: won or lost."""
        with self.account.acting(RequestContext()):
            return shown(close(self.account, self.account.find("dispute", dispute), status))

    def fail_refund(self, refund: str, reason: str = "unknown") -> Doc:
        """Let a refund fail after the fact, as the customer's bank does."""
        with self.account.acting(RequestContext()):
            return shown(refunds.fail(self.account, self.account.find("refund", refund), reason))
