"""Request parameters: decoding of nested forms, and checking against stripe-python's own parameter types.

The typed dictionaries of ``stripe.params`` are generated from Stripe's OpenAPI description of the pinned API
version, so a parameter that is unknown there is unknown to Stripe.
"""

from __future__ import annotations

import functools
import importlib
import re
import types
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

from typing_extensions import is_typeddict

from .errors import ApiError, bad_parameter, unsupported

Params = dict[str, Any]
_PATH = re.compile(r"\[([^\[\]]*)\]")
_REQUEST_OPTIONS = importlib.import_module("stripe._request_options").RequestOptions.__annotations__.keys()


def decode_form(text: str) -> Params:
    """``a[b][0]=c`` as nested dictionaries and lists; a repeated ``a[]`` appends."""
    root: Params = {}
    for raw_name, value in parse_qsl(text, keep_blank_values=True):
        head, _, rest = raw_name.partition("[")
        keys = [head, *_PATH.findall("[" + rest)] if rest else [head]
        node = root
        for key in keys[:-1]:
            child = node.setdefault(key or str(len(node)), {})
            if not isinstance(child, dict):
                raise bad_parameter(f"Invalid parameter: {raw_name}", param=raw_name)
            node = child
        node[keys[-1] or str(len(node))] = value
    return root


@functools.cache
def parameter_types(schema: str) -> tuple[dict[str, Any], frozenset[str]]:
    """Types and required names of a class of ``stripe.params``, without the client's request options."""
    module = re.sub(r"(?<!^)(?=[A-Z])", "_", schema).lower()
    return _typed_dict(getattr(importlib.import_module(f"stripe.params._{module}"), schema))


@functools.cache
def _typed_dict(cls: Any) -> tuple[dict[str, Any], frozenset[str]]:
    hints = get_type_hints(cls, localns={"StripeContext": Any, "Mapping": Mapping})
    names = {name: hint for name, hint in hints.items() if name not in _REQUEST_OPTIONS}
    return names, frozenset(cls.__required_keys__ & names.keys())


def checked(raw: Params, schema: str, modelled: Iterable[str]) -> Params:
    """Coerce ``raw`` to the types of ``schema``.

    Raises ``ApiError`` (400) for an unknown, missing, empty or malformed parameter, and for one that Stripe
    knows but the endpoint's ``modelled`` names do not include.
    """
    hints, required = parameter_types(schema)
    params = _checked_mapping(raw, hints, required, "")
    allowed = {*modelled, "expand"}
    for name in params:
        if name not in allowed:
            raise unsupported(name)
    return params


def _checked_mapping(raw: Params, hints: dict[str, Any], required: frozenset[str], prefix: str) -> Params:
    for name in raw:
        if name not in hints:
            full = f"{prefix}[{name}]" if prefix else name
            raise bad_parameter(f"Received unknown parameter: {full}", param=full, code="parameter_unknown")
    for name in sorted(required - raw.keys()):
        full = f"{prefix}[{name}]" if prefix else name
        raise bad_parameter(f"Missing required param: {full}.", param=full, code="parameter_missing")
    return {
        name: _coerce(value, hints[name], f"{prefix}[{name}]" if prefix else name)
        for name, value in raw.items()
    }


def _members(hint: Any) -> list[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return [member for part in get_args(hint) for member in _members(part)]
    return [hint]


def _coerce(value: Any, hint: Any, param: str) -> Any:
    members = _members(hint)
    if isinstance(value, dict):
        return _coerce_mapping(value, members, param)
    literals = [text for member in members if get_origin(member) is Literal for text in get_args(member)]
    if value == "":
        if "" in literals:
            return ""
        raise bad_parameter(
            f"You passed an empty string for '{param}'. We assume empty values are an attempt to unset a "
            f"parameter; however '{param}' cannot be unset. You should remove '{param}' from your request or "
            "supply a non-empty value.",
            param=param,
            code="parameter_invalid_empty",
        )
    return _coerce_scalar(value, members, [text for text in literals if text], param)


def _coerce_mapping(value: Params, members: list[Any], param: str) -> Any:
    for member in members:
        if is_typeddict(member):
            return _checked_mapping(value, *_typed_dict(member), param)
        if get_origin(member) is list:
            (item,) = get_args(member)
            if not all(key.isdigit() for key in value):
                raise bad_parameter("Invalid array", param=param)
            ordered = sorted(value.items(), key=lambda pair: int(pair[0]))
            return [_coerce(element, item, f"{param}[{index}]") for index, element in ordered]
        if get_origin(member) is dict:
            if not all(isinstance(text, str) for text in value.values()):
                raise bad_parameter("Metadata values must be strings.", param=param)
            return dict(value)
    raise bad_parameter("Invalid string: a hash was given", param=param)


def _coerce_scalar(value: str, members: list[Any], literals: list[str], param: str) -> Any:
    if bool in members and value in ("true", "false"):
        return value == "true"
    if int in members and re.fullmatch(r"-?\d+", value):
        return int(value)
    if Decimal in members:
        try:
            return Decimal(value)
        except InvalidOperation:
            raise bad_parameter(f"Invalid decimal: {value}", param=param) from None
    if literals:
        if value in literals:
            return value
        options = ", ".join(literals)
        raise bad_parameter(f"Invalid {param}: must be one of {options}", param=param)
    if str in members:
        return value
    raise _wrong_type(value, members, param)


def _wrong_type(value: str, members: list[Any], param: str) -> ApiError:
    if int in members:
        return bad_parameter(f"Invalid integer: {value}", param=param, code="parameter_invalid_integer")
    if bool in members:
        return bad_parameter(f"Invalid boolean: {value}", param=param)
    if any(get_origin(member) is list for member in members):
        return bad_parameter("Invalid array", param=param)
    return bad_parameter("Invalid object", param=param)


def merged_metadata(current: dict[str, str] | None, change: dict[str, str] | str | None) -> dict[str, str]:
    """Stripe's rule: given keys are set, an empty value unsets its key, an empty string unsets them all.

    At most 50 keys of 40 characters with values of 500 (https://docs.stripe.com/api/metadata).
    """
    if change == "":
        return {}
    result = dict(current or {})
    for key, text in (change or {}).items():  # type: ignore[union-attr]
        if len(key) > 40 or len(text) > 500:
            what = "keys can have up to 40" if len(key) > 40 else "values can have up to 500"
            raise bad_parameter(f"Metadata {what} characters.", param=f"metadata[{key}]")
        if text == "":
            result.pop(key, None)
        else:
            result[key] = text
    if len(result) > 50:
        raise bad_parameter("You can only have up to 50 metadata keys.", param="metadata")
    return result
