"""What goes back over HTTP: the JSON-RPC envelope, and the answers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.solana_node.errors import RpcError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from sandbox.solana_node.faults import RateLimitAnswer

_CONNECTION = "sandbox.connection"
_HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class DroppableHttp(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with the connection within the application's reach, so that a fault can close it."""

    def on_message_begin(self) -> None:
        """Start a request's scope."""
        super().on_message_begin()
        self.scope["extensions"] = {_CONNECTION: {"transport": self.transport}}


class ClosedConnection(Response):
    """No answer at all: the connection is closed, at once or `after` seconds, or the client leaves."""

    def __init__(self, after: float = 0.0) -> None:
        super().__init__()
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Close the connection without sending a byte."""
        if self._after:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_disconnected(receive), self._after)
        scope["extensions"][_CONNECTION]["transport"].abort()
        await _disconnected(receive)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    text = json.dumps(body, separators=(",", ":"))
    return Response(text, status, headers=headers, media_type="application/json")


def envelope(call_id: Any, *, result: Any = None, error: RpcError | None = None) -> dict[str, Any]:
    """Return the JSON-RPC answer to one call."""
    if error is not None:
        return {"jsonrpc": "2.0", "error": error.to_json(), "id": call_id}
    return {"jsonrpc": "2.0", "result": result, "id": call_id}


def rate_limited(answer: RateLimitAnswer, call_id: Any, *, retry_after: float | None) -> Response:
    """Return "too many requests" in the provider's way."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    if answer.body == "json":
        error = RpcError(answer.code, answer.message, answer.data)
        return json_response(envelope(call_id, error=error), answer.status, headers)
    return Response(answer.message if answer.body == "text" else b"", answer.status, headers=headers)


def server_error(status: int, body: str | None) -> Response:
    """Return a gateway's error in plain text."""
    return Response(body if body is not None else "upstream connect error", status, media_type="text/plain")


def html_page(body: str | None) -> Response:
    """Return a proxy's page with status 200, where JSON was due."""
    return HTMLResponse(body if body is not None else _HTML)
