"""The node as an object: an HTTP server in a thread of its own around a NodeState."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sandbox.solana_node.clock import SLOT_SECONDS, ClockMode, CommitmentDelays, SlotClock
from sandbox.solana_node.control import answer_control
from sandbox.solana_node.journal import Journal
from sandbox.solana_node.limits import RateLimits
from sandbox.solana_node.responses import DroppableHttp
from sandbox.solana_node.rpc import answer_http
from sandbox.solana_node.state import NodeState

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from starlette.requests import Request
    from starlette.responses import Response

    from sandbox.solana_node.builders import Builders
    from sandbox.solana_node.chain import Chain
    from sandbox.solana_node.faults import Faults
    from sandbox.solana_node.ledger import Ledger
    from sandbox.solana_node.limits import Calls

_STARTED_WITHIN = 15.0


def application(node: NodeState) -> Starlette:
    """Return the ASGI application of a node: `/` for JSON-RPC, `/_sandbox/` to control it."""

    async def rpc(request: Request) -> Response:
        return await answer_http(node, request)

    async def control(request: Request) -> Response:
        return await answer_control(node, request)

    async def health(_request: Request) -> Response:
        return PlainTextResponse("behind" if node.slots_behind else "ok")

    return Starlette(
        routes=[
            Route("/", rpc, methods=["POST"]),
            Route("/health", health),
            Route("/_sandbox/{verb}", control, methods=["GET", "POST"]),
            Route("/_sandbox/", control),
        ]
    )


class SolanaNode:
    """A local Solana node.

    `with SolanaNode() as node:` serves `node.url`. `clock="manual"` moves by `advance_slots` only, "real" by
    itself. `unix_time` is the UTC time of the first block in seconds (now by default). `state_dir` makes the
    chain outlive the process.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: ClockMode = "manual",
        slot_seconds: float = SLOT_SECONDS,
        unix_time: float | None = None,
        delays: CommitmentDelays | None = None,
        limits: RateLimits | None = None,
        latency: float = 0.0,
        state_dir: Path | None = None,
    ) -> None:
        self.state = NodeState(SlotClock(clock, slot_seconds=slot_seconds, unix_time=unix_time))
        self.state.latency = latency
        if limits is not None:
            self.state.limits = limits
        self._journal = None if state_dir is None else Journal(self.state.chain, state_dir)
        if self._journal is not None:
            self._journal.open()
        if delays is not None:
            self.state.chain.set_delays(delays)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))
        self.host, self.port = self._socket.getsockname()
        config = uvicorn.Config(
            application(self.state),
            http=DroppableHttp,
            lifespan="off",
            ws="none",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.serve, name="solana-node", daemon=True)

    @property
    def url(self) -> str:
        """The RPC endpoint."""
        return f"http://{self.host}:{self.port}/"

    @property
    def chain(self) -> Chain:
        """The chain itself."""
        return self.state.chain

    @property
    def ledger(self) -> Ledger:
        """The referee."""
        return self.state.chain.ledger

    @property
    def build(self) -> Builders:
        """Builders of accounts, mints and payments."""
        return self.state.build

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self.state.faults

    @property
    def calls(self) -> Calls:
        """The call counters."""
        return self.state.calls

    @property
    def clock(self) -> SlotClock:
        """The clock; to move it, `advance_slots` also lands what is due."""
        return self.state.clock

    def advance_slots(self, slots: int) -> None:
        """Move the clock by whole slots (of 0.4 s) and land what is due."""
        with self.chain.lock:
            self.clock.advance_slots(slots)
            self.chain.tick()

    def advance_seconds(self, seconds: float) -> None:
        """Move the clock by seconds and land what is due."""
        with self.chain.lock:
            self.clock.advance_seconds(seconds)
            self.chain.tick()

    def set_unix_time(self, unix_time: float) -> None:
        """Set the UTC time of the next blocks, back or forth."""
        with self.chain.lock:
            self.clock.set_unix_time(unix_time)

    def set_delays(self, **delays: float) -> None:
        """Set seconds to `processed`, `confirmed` and `finalized`."""
        self.chain.set_delays(CommitmentDelays(**delays))

    def set_limits(self, **limits: Any) -> None:
        """Set rate limits, see RateLimits; none takes them off."""
        self.state.limits = RateLimits(**limits)

    def release_held(self) -> int:
        """Land the held transactions that still can."""
        return self.chain.release_held()

    def serve(self) -> None:
        """Serve in this thread until `server.should_exit`."""
        self.server.run(sockets=[self._socket])

    def start(self) -> Self:
        """Serve in a thread; return once it answers."""
        self._thread.start()
        deadline = time.monotonic() + _STARTED_WITHIN
        while not self.server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the node did not start")
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Stop serving and close the journal."""
        self.server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join()
        self.close()

    def close(self) -> None:
        """Close socket and journal."""
        self._socket.close()
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
