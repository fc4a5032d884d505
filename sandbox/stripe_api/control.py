"""The control API under /_sandbox: what a test or an operator does that Stripe's own API cannot.

It has no authentication: it is served on loopback only. Bodies and answers are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from . import charging, disputes, payment_methods, refunds, seeding, transfer
from .account import Account, RequestContext, Settings
from .api import StripeApi, json_response
from .errors import ApiError
from .shapes import Doc, shown

if TYPE_CHECKING:
    from starlette.requests import Request

PREFIX = "/_sandbox"
Action = Callable[[StripeApi, Doc, dict[str, str]], Any]


def control_routes(api: StripeApi) -> list[Route]:
    """Return the routes of the control API."""
    routes = [
        Route(PREFIX + path, _json(api, action), methods=[method])
        for (method, path), action in _ACTIONS.items()
    ]

    async def export(_: Request) -> Response:
        return StreamingResponse(transfer.export_lines(api.account), media_type="application/x-ndjson")

    async def load(request: Request) -> Response:
        return await _guarded(lambda body: transfer.import_lines(api.account, body), request)

    async def seed(request: Request) -> Response:
        return await _guarded(lambda body: seeding.seed_lines(api.account, body), request)

    return [
        *routes,
        Route(f"{PREFIX}/export", export, methods=["GET"]),
        Route(f"{PREFIX}/import", load, methods=["POST"]),
        Route(f"{PREFIX}/seed", seed, methods=["POST"]),
    ]


async def _guarded(run: Callable[[str], Any], request: Request) -> Response:
    try:
        return json_response(200, run((await request.body()).decode()))
    except ApiError as error:
        return json_response(error.status, error.body())
    except (KeyError, TypeError, ValueError) as error:
        return json_response(
            400, {"error": {"type": "sandbox_error", "message": f"{type(error).__name__}: {error}"}}
        )


def _json(api: StripeApi, action: Action) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return await _guarded(
            lambda body: action(api, json.loads(body) if body else {}, dict(request.path_params)), request
        )

    return serve


def _acting(run: Callable[[Account, Doc, str], Doc]) -> Action:
    def action(api: StripeApi, body: Doc, ids: dict[str, str]) -> Doc:
        with api.account.acting(RequestContext()):
            return shown(run(api.account, body, ids["id"]))

    return action


def _clock(api: StripeApi, body: Doc, _: dict[str, str]) -> Doc:
    clock = api.account.clock
    if "freeze" in body:
        clock.freeze(None if body["freeze"] is True else body["freeze"])
    if "set" in body:
        clock.set(body["set"])
    if "advance" in body:
        clock.advance(**body["advance"])
    if body.get("resume"):
        clock.resume()
    with api.account.acting(RequestContext()):
        charging.settle_due(api.account)
    return {"now": clock.now(), **clock.state()}


def _settings(api: StripeApi, body: Doc, _: dict[str, str]) -> Doc:
    known = {each.name for each in fields(Settings)}
    if unknown := body.keys() - known:
        raise ValueError(f"no such setting: {', '.join(sorted(unknown))} (known: {', '.join(sorted(known))})")
    for name, value in body.items():
        setattr(api.account.settings, name, value)
    return asdict(api.account.settings)


def _add_fault(api: StripeApi, body: Doc, _: dict[str, str]) -> Doc:
    return asdict(api.faults.add(**body))


def _clear_faults(api: StripeApi, _: Doc, __: dict[str, str]) -> Doc:
    api.faults.clear()
    return {"faults": []}


def _reset_calls(api: StripeApi, _: Doc, __: dict[str, str]) -> Doc:
    api.calls.reset()
    return api.calls.as_dict()


def _reset(api: StripeApi, _: Doc, __: dict[str, str]) -> Doc:
    api.reset()
    return {"now": api.account.now()}


def _ledger(api: StripeApi, _: Doc, __: dict[str, str]) -> Doc:
    ledger = api.account.ledger
    return {"entries": [entry.as_dict() for entry in ledger], "totals": ledger.totals()}


def _add_key(api: StripeApi, body: Doc, _: dict[str, str]) -> Doc:
    return {"key": api.keys.add(body["key"], body.get("permissions"))}


def _revoke_key(api: StripeApi, body: Doc, _: dict[str, str]) -> Doc:
    api.keys.revoke(body["key"])
    return {"revoked": body["key"]}


def _dispute(account: Account, body: Doc, charge_id: str) -> Doc:
    charge = account.find("charge", charge_id, in_path=True)
    return charging.open_dispute(account, charge, **body)


def _close_dispute(account: Account, body: Doc, dispute_id: str) -> Doc:
    return disputes.close(account, account.find("dispute", dispute_id, in_path=True), body["status"])


def _fail_refund(account: Account, body: Doc, refund_id: str) -> Doc:
    return refunds.fail(account, account.find("refund", refund_id, in_path=True), **body)


_ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "/health"): lambda api, _body, _ids: {"status": "ok", "now": api.account.now()},
    ("GET", "/clock"): lambda api, _body, ids: _clock(api, {}, ids),
    ("POST", "/clock"): _clock,
    ("GET", "/settings"): lambda api, _body, ids: _settings(api, {}, ids),
    ("POST", "/settings"): _settings,
    ("GET", "/faults"): lambda api, _body, _ids: {"faults": api.faults.as_list()},
    ("POST", "/faults"): _add_fault,
    ("DELETE", "/faults"): _clear_faults,
    ("GET", "/calls"): lambda api, _body, _ids: api.calls.as_dict(),
    ("DELETE", "/calls"): _reset_calls,
    ("GET", "/ledger"): _ledger,
    ("POST", "/reset"): _reset,
    ("POST", "/keys"): _add_key,
    ("DELETE", "/keys"): _revoke_key,
    ("POST", "/payment_intents/{id}/settle"): _acting(
        lambda a, body, i: charging.settle(a, i, body.get("result"))
    ),
    ("POST", "/payment_intents/{id}/authenticate"): _acting(
        lambda a, body, i: charging.authenticate(a, i, succeeds=body.get("succeeds", True))
    ),
    ("POST", "/payment_methods/{id}/outcomes"): _acting(
        lambda a, body, i: payment_methods.script(a, i, body["outcomes"])
    ),
    ("POST", "/charges/{id}/dispute"): _acting(_dispute),
    ("POST", "/disputes/{id}/close"): _acting(_close_dispute),
    ("POST", "/refunds/{id}/fail"): _acting(_fail_refund),
}
