"""The ASGI application: Stripe's endpoints under /v1, the control API under /_sandbox."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from .api import DropConnectionError, StripeApi, json_response
from .control import control_routes
from .endpoints import ENDPOINTS, Endpoint
from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp


class ResettableProtocol(H11Protocol):
    """HTTP over a connection that the application may reset: its transport is in ``scope["state"]``."""

    def connection_made(self, transport: Any) -> None:
        """Note the transport."""
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


def reset_connection(request: Request) -> None:
    """Reset the TCP connection of a request: the peer sees RST and not a byte of an answer."""
    transport = request.scope["state"]["transport"]
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def build_app(api: StripeApi) -> ASGIApp:
    """All routes; static paths come before those with an id."""
    ordered = sorted(ENDPOINTS, key=lambda endpoint: endpoint.path.count("{"))
    routes = [Route(e.path, _serve(api, e), methods=[e.method]) for e in ordered]
    unknown = Route("/{path:path}", _unrecognized, methods=_METHODS)
    return Starlette(routes=[*control_routes(api), *routes, unknown])


_METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH"]


def _serve(api: StripeApi, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            return await api.answer(request, endpoint)
        except DropConnectionError:
            reset_connection(request)
            return Response(status_code=500)  # goes nowhere: the connection is gone

    return serve


async def _unrecognized(request: Request) -> Response:
    error = ApiError(
        404,
        f"Unrecognized request URL ({request.method}: {request.url.path}). Please see https://stripe.com/docs or "
        "we can help at https://support.stripe.com/. (The sandbox serves a part of Stripe's API.)",
    )
    return json_response(error.status, error.body())
