"""docker-compose.yaml as Compose reads it: anchors merged, variables filled in."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.airflow_environment import REPOSITORY

COMPOSE_FILE = REPOSITORY / "docker-compose.yaml"
_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?P<kind>:\?|:-)(?P<rest>[^}]*)\}")


class MissingVariableError(Exception):
    """A required variable is not set."""


def load(variables: dict[str, str] | None) -> dict[str, Any]:
    """Read the file, with the variables filled in; as it is written when they are None."""
    content: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
    return content if variables is None else _filled_in(content, variables)


def variables_named() -> dict[str, str]:
    """Give every variable that the file names, with ``:?`` (required) or ``:-`` (it has a default)."""
    text = COMPOSE_FILE.read_text(encoding="utf-8")
    return {found["name"]: found["kind"] for found in _VARIABLE.finditer(text) if found["name"]}


def _filled_in(part: Any, variables: dict[str, str]) -> Any:
    if isinstance(part, dict):
        return {name: _filled_in(value, variables) for name, value in part.items()}
    if isinstance(part, list):
        return [_filled_in(value, variables) for value in part]
    return _VARIABLE.sub(lambda found: _value(found, variables), part) if isinstance(part, str) else part


def _value(found: re.Match[str], variables: dict[str, str]) -> str:
    if found["name"] is None:
        return "$"
    value = variables.get(found["name"])
    if not value and found["kind"] == ":?":
        raise MissingVariableError(found["name"])
    return value or found["rest"]


def parse_env(text: str) -> dict[str, str]:
    """Read an .env file as Compose does, as far as this one goes: NAME=value lines and comments."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)
