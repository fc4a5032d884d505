"""Stripe's API as the jobs use it: pages, single objects and posts as plain documents, under one rate limit.

stripe-python does the transport, and for reads its network retries (connection errors, 409 and 5xx). It does not retry
429 (seen with 16.1: one call, whatever `max_network_retries` says); this does. A post is sent once: a repeated send can
hide that the one before it may have had its effect, and its caller asks again with the same key anyway.
"""

from __future__ import annotations

import json
import logging
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import stripe

from cp_ops.hooks.rate_limit import Backoff, retry_after
from cp_ops.runtime.errors import RemoteConnectionLostError, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cp_ops.hooks.rate_limit import CallLimiter

log = logging.getLogger(__name__)

Document = dict[str, Any]
PAGE = 100
"""Objects per page, Stripe's most (docs.stripe.com/api/pagination)."""
POST_RETRIES = 0
"""How often stripe-python may send a post again by itself."""
SLOW_DOWN = Backoff(attempts=7, first=0.5, longest=30.0, jitter=0.25)
"""After an answer 429. A longer Retry-After is cut to the longest pause."""
TOO_MANY, CONFLICT, SERVER_ERROR = 429, 409, 500
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
ID_PLACE = 3
"""Where an id stands in a path: /v1/invoices/{id}/void."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Stripe answered to a post: the object that it made, or the error with which it refused.

    `body` is the object, or the member `error` of a refusal.
    """

    status: int
    body: Document

    @property
    def accepted(self) -> bool:
        """Whether Stripe did what it was asked."""
        return self.status < 400  # noqa: PLR2004 - HTTP


class StripeApi:
    """A Stripe account, seen through one API key.

    :param api_key: a secret key, or a restricted one with the permissions that the DAG's documentation lists.
    :param limiter: shared by every call of the process.
    :param max_network_retries: how often stripe-python makes a read again; posts are sent once.
    """

    def __init__(
        self,
        api_key: str,
        *,
        limiter: CallLimiter,
        api_version: str | None = None,
        base_url: str | None = None,
        max_network_retries: int = 2,
        timeout: float = 80.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.calls = 0
        self._limiter = limiter
        self._sleep = sleep
        self._maybe_done = False
        self._client = stripe.StripeClient(
            api_key,
            stripe_version=api_version,
            base_addresses={"api": base_url} if base_url else None,
            max_network_retries=max_network_retries,
            http_client=_patient_client(self._request, timeout),
        )

    def pages(self, resource: str, **filters: Any) -> Iterator[list[Document]]:
        """Give the objects of a list, newest first, one page of `PAGE` at a time.

        :param resource: the collection, such as ``invoices``.
        :raises RemoteRefusedError: when Stripe refuses the key, its permissions or the request.
        :raises RemoteUnavailableError: when Stripe does not answer; a list that broke off is never a short list.
        """
        after: Document = {}
        while True:
            try:
                page = self._get(f"/v1/{resource}", {"limit": PAGE, **filters, **after})
            except stripe.StripeError as error:
                raise translate(error, doing=f"Stripe, GET {resource}") from None
            objects: list[Document] = page["data"]
            if objects:
                yield objects
            if not page["has_more"] or not objects:
                return
            after = {"starting_after": objects[-1]["id"]}

    def get(self, resource: str, object_id: str, *, expand: tuple[str, ...] = ()) -> Document | None:
        """Give one object, or None where Stripe says that there is none (404, resource_missing)."""
        doing = f"Stripe, GET {resource}/{{id}}"
        try:
            return self._get(f"/v1/{resource}/{object_id}", {"expand": list(expand)} if expand else {})
        except stripe.InvalidRequestError as error:
            if error.http_status == NOT_FOUND or error.code == "resource_missing":
                return None
            raise translate(error, doing=doing) from None
        except stripe.StripeError as error:
            raise translate(error, doing=doing) from None

    def post(self, path: str, params: Mapping[str, Any], *, idempotency_key: str) -> Answer:
        """Ask Stripe to do something, under a key that makes asking again harmless for 24 hours.

        :return: what Stripe decided, be it a refusal.
        :raises RemoteConnectionLostError: when it may or may not have happened: no answer, a conflict, a 5xx, be it to
            an earlier send of this post that was refused afterwards.
        :raises RemoteUnavailableError: when it did not happen: Stripe asked to slow down, again and again.
        :raises RemoteRefusedError: when it did not happen: the key or its permissions were refused.
        """
        options = {"idempotency_key": idempotency_key, "max_network_retries": POST_RETRIES}
        doing = f"Stripe, {endpoint_name('POST', path)}"
        self._maybe_done = False
        try:
            response = self._client.raw_request("post", path, **{**params, **options})
        except stripe.StripeError as error:
            status = error.http_status or 0
            not_done = status in (TOO_MANY, UNAUTHORIZED, FORBIDDEN)
            # A refusal of this send says nothing of an earlier one of the same post that had no answer.
            if _maybe_done(status) or (not_done and self._maybe_done):
                meaning = translate(error, doing=doing)
                raise RemoteConnectionLostError(f"{meaning}: it may or may not have happened") from None
            if not_done or isinstance(error, stripe.RateLimitError):
                raise translate(error, doing=doing) from None
            refusal: Any = error.json_body
            return Answer(status, dict((refusal or {}).get("error") or {}))
        return Answer(int(response.code), json.loads(response.body))

    def _get(self, path: str, params: Mapping[str, Any]) -> Document:
        document: Document = json.loads(self._client.raw_request("get", path, **params).body)
        return document

    def _request(
        self, send: Callable[..., tuple[Any, int, Mapping[str, str]]], method: str, url: str, *rest: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        """Send one request when its turn has come; one that is answered 429 is sent again, later."""
        endpoint = endpoint_name(method, url)
        attempt = 0
        while True:
            attempt += 1
            self._limiter.wait(endpoint)
            self.calls += 1
            # An exception here is the transport's: the request may have left before it broke.
            try:
                answer = send(method, url, *rest)
            except Exception:
                self._maybe_done = True
                raise
            self._maybe_done = self._maybe_done or _maybe_done(answer[1])
            if answer[1] != TOO_MANY or attempt >= SLOW_DOWN.attempts:
                return answer
            pause = pause_after(answer[2], attempt)
            log.info("Stripe asks to slow down (%s); again in %.1f s", endpoint, pause)
            self._sleep(pause)


def _maybe_done(status: int) -> bool:
    """Tell whether an answer leaves it open if the call had its effect; 0 stands for none."""
    return status >= SERVER_ERROR or status in (0, CONFLICT)


def pause_after(headers: Mapping[str, str], attempt: int) -> float:
    """Give the seconds to wait after a 429: what Retry-After says, within reason, else what the backoff says."""
    asked = retry_after(headers)
    return SLOW_DOWN.pause(attempt) if asked is None else min(asked, SLOW_DOWN.longest)


def endpoint_name(method: str, url: str) -> str:
    """Name an endpoint as Stripe's limits count it: without ids and query, such as ``GET /v1/invoices/{id}``."""
    parts = re.sub(r"^https?://[^/]+", "", url).split("?", 1)[0].split("/")
    if len(parts) > ID_PLACE and parts[ID_PLACE] != "search":
        parts[ID_PLACE] = "{id}"
    return f"{method.upper()} {'/'.join(parts)}"


def _patient_client(request: Callable[..., Any], timeout: float) -> Any:
    """Build stripe-python's HTTP client with our own way to send one request beneath its network retries."""

    class PatientClient(stripe.RequestsClient):
        def request(
            self, method: str, url: str, headers: Any, post_data: Any = None, *, _usage: Any = None
        ) -> Any:
            return request(super().request, method, url, headers, post_data)

    return PatientClient(timeout=timeout)
