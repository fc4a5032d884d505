"""What an endpoint's function is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .account import Account
    from .shapes import Doc


@dataclass(frozen=True)
class Call:
    """A checked call: the account, its parameters by Stripe's types, and the ids in its path."""

    account: Account
    params: Doc
    ids: dict[str, str] = field(default_factory=dict)

    def named(self, kind: str) -> Doc:
        """Return the object that the path names; 404 when there is none."""
        return self.account.find(kind, self.ids["id"], in_path=True)

    def given(self, *names: str) -> Doc:
        """Those of these parameters that were given; an empty string unsets, as None."""
        return {
            name: None if self.params[name] == "" else self.params[name]
            for name in names
            if name in self.params
        }

    def get(self, name: str, default: Any = None) -> Any:
        """Return a parameter, or a default."""
        return self.params.get(name, default)
