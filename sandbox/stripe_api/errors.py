"""Errors as Stripe words them (https://docs.stripe.com/api/errors, https://docs.stripe.com/error-codes)."""

from __future__ import annotations

from typing import Any

DOC_URL = "https://docs.stripe.com/error-codes"


class ApiError(Exception):
    """An answer other than 200.

    ``keeps_effect`` marks errors after which what the call wrote stays (a declined charge exists);
    every other error rolls the call back. ``remembered`` says whether the idempotency layer stores the
    answer: Stripe stores what an endpoint answered, not what was refused before the endpoint began.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        keeps_effect: bool = False,
        remembered: bool = True,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.keeps_effect = keeps_effect
        self.remembered = remembered
        self.headers = headers or {}
        self.fields = fields

    def body(self) -> dict[str, Any]:
        """Return the JSON body, without the members that Stripe leaves out when they are empty."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = f"{DOC_URL}/{self.code.replace('_', '-')}"
        if self.param:
            error["param"] = self.param
        error.update({name: value for name, value in self.fields.items() if value is not None})
        return {"error": error}


def invalid(message: str, *, param: str | None = None, code: str | None = None, **fields: Any) -> ApiError:
    """Return a request that the endpoint refused after it began (400)."""
    return ApiError(400, message, code=code, param=param, **fields)


def bad_parameter(message: str, *, param: str | None, code: str | None = None) -> ApiError:
    """Return a parameter that failed validation before the endpoint began (400, not stored by idempotency)."""
    return ApiError(400, message, code=code, param=param, remembered=False)


def no_such(kind: str, object_id: str, *, param: str = "id", in_path: bool = False) -> ApiError:
    """Return a missing object: 404 when the path names it, 400 when a parameter does."""
    label = kind.replace("invoiceitem", "invoice item").replace("payment_method", "PaymentMethod")
    return ApiError(
        404 if in_path else 400, f"No such {label}: '{object_id}'", code="resource_missing", param=param
    )


def unsupported(param: str) -> ApiError:
    """Return a parameter that Stripe knows and this sandbox does not model: refused, never ignored."""
    return bad_parameter(
        f"The sandbox does not model the parameter {param!r}.", param=param, code="sandbox_unsupported"
    )
