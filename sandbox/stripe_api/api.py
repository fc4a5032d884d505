"""The path of one API call: key, limits, parameters, idempotency, faults, effect, answer."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from starlette.responses import Response

from .account import Account, RequestContext
from .call import Call
from .catalog import API_VERSION
from .charging import settle_due
from .errors import ApiError, bad_parameter, unsupported
from .expand import Renderer, check_depth
from .faults import Fault, Faults
from .idempotency import Answer, IdempotencyKeys, digest_of
from .limits import RateLimiter, rate_limited
from .params import Params, checked, decode_form

if TYPE_CHECKING:
    from starlette.requests import Request

    from .endpoints import Endpoint
    from .keys import ApiKey, KeyRing
    from .shapes import Doc


class DropConnectionError(Exception):
    """The connection is to be reset instead of answered."""


@dataclass
class Calls:
    """How many calls came in and how they were answered, by endpoint name."""

    received: Counter[str] = field(default_factory=Counter)
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __getitem__(self, endpoint: str) -> int:
        return self.received[endpoint]

    @property
    def total(self) -> int:
        """All calls."""
        return self.received.total()

    def reset(self) -> None:
        """Count from zero."""
        self.received.clear()
        self.answered.clear()

    def as_dict(self) -> Doc:
        """For JSON: endpoint -> total and answers by status; a call without an answer was dropped."""
        return {
            name: {
                "total": total,
                "statuses": {str(s): n for (endpoint, s), n in self.answered.items() if endpoint == name},
            }
            for name, total in sorted(self.received.items())
        }


@dataclass
class StripeApi:
    """Everything between HTTP and the endpoints' functions."""

    account: Account
    keys: KeyRing
    faults: Faults = field(default_factory=Faults)
    calls: Calls = field(default_factory=Calls)
    limiter: RateLimiter = field(default_factory=RateLimiter)

    def __post_init__(self) -> None:
        self.idempotency = IdempotencyKeys(self.account)
        self._first_settings = replace(self.account.settings)

    def reset(self) -> None:
        """Become a new account: no objects, no ledger, no faults, counters at zero, real time, first settings."""
        self.account.store.reset()
        self.account.clock.restore({})
        self.account.settings = replace(self._first_settings)
        self.faults.clear()
        self.calls.reset()
        self.limiter.forget()

    async def answer(self, request: Request, endpoint: Endpoint) -> Response:
        """Answer a call to an endpoint. Raises ``DropConnectionError`` when a fault says so."""
        request_id = f"req_{secrets.token_hex(7)}"
        headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION}
        self.calls.received[endpoint.name] += 1
        try:
            status, body, more = await self._processed(request, endpoint, request_id)
            headers |= more
        except ApiError as error:
            status, body = error.status, error.body()
            headers |= error.headers
        self.calls.answered[endpoint.name, status] += 1
        return json_response(status, body, headers)

    async def _processed(
        self, request: Request, endpoint: Endpoint, request_id: str
    ) -> tuple[int, Doc, dict[str, str]]:
        key = self.keys.authenticate(request.headers.get("authorization"))
        check_version(request.headers.get("stripe-version"))
        if "stripe-account" in request.headers:
            raise unsupported("Stripe-Account")
        settings = self.account.settings
        self.limiter.admit(endpoint.name, settings.rate_limit, settings.global_rate_limit)
        raw = decode_form(request.url.query if request.method == "GET" else (await request.body()).decode())
        fault = self.faults.take(endpoint.name, raw)
        if fault and fault.kind == "rate_limit":
            raise rate_limited("endpoint-rate")
        key.require(endpoint.resource, endpoint.level)
        params = checked(raw, endpoint.schema, endpoint.modelled)
        expand = params.pop("expand", [])
        check_depth(expand)
        name = request.headers.get("idempotency-key") if request.method == "POST" else None
        execution = _Execution(self, endpoint, key, dict(request.path_params), params, expand, fault)
        context = RequestContext(request_id, name)
        if name is None:
            answer = await execution.run(context, None, None)
            await execution.suffer("after")
            return answer.status, answer.body, {}
        address, digest = f"{request.method} {request.url.path}", digest_of(raw)
        with self.idempotency.claim(name, address, digest) as stored:
            answer = await execution.run(context, (address, digest), stored)
        await execution.suffer("after")  # the call is over for Stripe: its key is no longer in flight
        headers = {"Idempotency-Key": name, "Original-Request": answer.request_id}
        return answer.status, answer.body, headers | ({"Idempotent-Replayed": "true"} if stored else {})


@dataclass
class _Execution:
    """One call that is let in: its faults around its effect."""

    api: StripeApi
    endpoint: Endpoint
    key: ApiKey
    ids: dict[str, str]
    params: Params
    expand: list[str]
    fault: Fault | None

    async def run(
        self, context: RequestContext, claim: tuple[str, str] | None, stored: Answer | None
    ) -> Answer:
        await asyncio.sleep(self.api.account.settings.latency)
        await self.suffer("before")
        return stored or self._effect(context, claim)

    async def suffer(self, when: str) -> None:
        """Let the ordered fault happen, if this is its time."""
        fault = self.fault
        if fault is None or fault.when != when:
            return
        if fault.kind in ("hang", "delay"):
            await asyncio.sleep(fault.seconds)
        if fault.kind in ("hang", "drop"):
            raise DropConnectionError
        if fault.kind == "error":
            raise fault.error()

    def _effect(self, context: RequestContext, claim: tuple[str, str] | None) -> Answer:
        account = self.api.account
        with account.acting(RequestContext()):
            settle_due(account)
        try:
            with account.acting(context):
                answer = Answer(200, self._rendered(), str(context.request_id))
                self._remember(context, claim, answer)
        except ApiError as error:
            answer = Answer(error.status, error.body(), str(context.request_id))
            if error.remembered:
                with account.store.transaction():
                    self._remember(context, claim, answer)
        return answer

    def _rendered(self) -> Doc:
        account = self.api.account
        renderer = Renderer(account, lambda kind: self.key.require(_resource(kind), "read"))
        return renderer.render(self.endpoint.run(Call(account, self.params, self.ids)), self.expand)

    def _remember(self, context: RequestContext, claim: tuple[str, str] | None, answer: Answer) -> None:
        if claim is None or context.idempotency_key is None:
            return
        if self.fault and self.fault.remembered and self.fault.kind == "error" and self.fault.when == "after":
            error = self.fault.error()
            answer = Answer(error.status, error.body(), answer.request_id)
        self.api.idempotency.store(context.idempotency_key, *claim, answer)


def _resource(kind: str) -> str:
    from .catalog import KINDS

    return KINDS[kind].permission


def check_version(version: str | None) -> None:
    """Refuse an API version whose shapes these are not."""
    if version and version != API_VERSION:
        raise bad_parameter(
            f"Invalid Stripe API version: {version}. This sandbox speaks {API_VERSION}.", param=None
        )


def json_response(status: int, body: Doc, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(
        json.dumps(body, separators=(",", ":")),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )
