"""JSON-RPC 2.0 over HTTP: single calls and batches, counted, rate-limited and met by faults."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from sandbox.solana_node import methods_accounts, methods_cluster, methods_history, methods_transactions
from sandbox.solana_node.errors import INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR, RpcError
from sandbox.solana_node.faults import FATES, TRANSPORT, Fault
from sandbox.solana_node.params import Params
from sandbox.solana_node.responses import (
    ClosedConnection,
    envelope,
    html_page,
    json_response,
    rate_limited,
    server_error,
)

if TYPE_CHECKING:
    from starlette.requests import Request

    from sandbox.solana_node.state import NodeState

METHODS = {
    **methods_accounts.METHODS,
    **methods_cluster.METHODS,
    **methods_history.METHODS,
    **methods_transactions.METHODS,
}
HANG_SECONDS = 3600.0
Met = list[Fault | None]


async def answer_http(node: NodeState, request: Request) -> Response:
    """Answer one HTTP request."""
    node.calls.requests += 1
    if "json" not in request.headers.get("content-type", ""):
        return Response(
            "Supplied content type is not allowed. Content-Type: application/json is required", 415
        )
    body = await request.body()
    if node.latency:
        await asyncio.sleep(node.latency)
    try:
        payload = json.loads(body)
    except ValueError:
        return json_response(envelope(None, error=RpcError(PARSE_ERROR, "Parse error")))
    calls = payload if isinstance(payload, list) else [payload]
    if not calls or not all(isinstance(call, dict) and isinstance(call.get("method"), str) for call in calls):
        return json_response(envelope(None, error=RpcError(INVALID_REQUEST, "Invalid request")))
    return await _answer_calls(node, calls, batch=isinstance(payload, list))


async def _answer_calls(node: NodeState, calls: list[dict[str, Any]], *, batch: bool) -> Response:
    methods = [call["method"] for call in calls]
    node.calls.by_method.update(methods)
    wait = node.limits.take(methods)
    if wait is not None:
        node.calls.rate_limited += len(calls)
        return rate_limited(node.limits.answer, calls[0].get("id"), retry_after=wait)
    met = _meet_faults(node, calls)
    for fault in met:
        if fault is not None and fault.kind in TRANSPORT and not _takes_effect(fault):
            return await _transport(fault, calls[0].get("id"))
    answers = [_answer(node, call, fault) for call, fault in zip(calls, met, strict=True)]
    for fault in met:
        if fault is not None and fault.kind in TRANSPORT:
            return await _transport(fault, calls[0].get("id"))
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.seconds or 0)
    kept = [answer for call, answer in zip(calls, answers, strict=True) if "id" in call]
    if not kept:
        return Response(status_code=204)
    return json_response(kept if batch else kept[0])


def _meet_faults(node: NodeState, calls: list[dict[str, Any]]) -> Met:
    if not node.faults.active:
        return [None] * len(calls)
    met: Met = []
    for call in calls:
        params = call.get("params")
        addresses = methods_transactions.sent_addresses(params) if call["method"] == "sendTransaction" else []
        met.append(node.faults.meet(call["method"], params, addresses))
    return met


def _takes_effect(fault: Fault) -> bool:
    return fault.kind == "lost_response" or fault.after_effect


async def _transport(fault: Fault, call_id: Any) -> Response:
    if fault.kind == "rate_limited":
        return rate_limited(fault.answer, call_id, retry_after=fault.answer.retry_after)
    if fault.kind == "server_error":
        return server_error(fault.status, fault.body)
    if fault.kind == "html":
        return html_page(fault.body)
    if fault.kind == "hang":
        return ClosedConnection(after=HANG_SECONDS if fault.seconds is None else fault.seconds)
    return ClosedConnection()


def _answer(node: NodeState, call: dict[str, Any], fault: Fault | None) -> dict[str, Any]:
    call_id = call.get("id")
    try:
        return envelope(call_id, result=_result(node, call, fault))
    except RpcError as error:
        return envelope(call_id, error=error)


def _result(node: NodeState, call: dict[str, Any], fault: Fault | None) -> Any:
    if fault is not None and fault.kind == "rpc_error":
        raise RpcError(fault.code, fault.message, fault.data)
    if fault is not None and fault.kind == "null_result":
        return None
    method = METHODS.get(call["method"])
    if method is None:
        raise RpcError(METHOD_NOT_FOUND, "Method not found")
    with node.chain.lock:
        node.chain.tick()
        params = Params(node, call.get("params"))
        if fault is not None and fault.kind in FATES:
            return methods_transactions.send_transaction(node, params, fault.fate)
        return method(node, params)
