"""The mail that invites a firm's administrator to choose a password."""

from __future__ import annotations

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from cp_ops.runtime.outbox import INVITATION_TOKEN, Mail
from cp_ops.runtime.statements import INCLUDE

KIND = "firm_invitation"
PATH = "/accept-invitation/"
"""The application's page, below setting frontend_url. It calls `cp_ops.redeem_invitation(token)`."""

_templates = Environment(
    loader=FileSystemLoader(INCLUDE / "templates"),
    autoescape=select_autoescape(("html.j2",)),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
)


def invitation_mail(
    *,
    invitation_id: int,
    firm_id: int,
    firm_name: str,
    address: str,
    first_name: str,
    hours: int,
    frontend_url: str,
) -> Mail:
    """Compose the invitation; the link's token is put in when the mail is handed over.

    :param hours: how long the link can be used.
    """
    words = {
        "firm_name": firm_name,
        "first_name": first_name,
        "username": address.lower(),
        "hours": hours,
        "link": f"{frontend_url}{PATH}{INVITATION_TOKEN}",
    }
    return Mail(
        kind=KIND,
        subject_key=f"invitation:{invitation_id}",
        step="first",
        recipient=address,
        title=f"Your account at {firm_name}",
        text=_templates.get_template("firms/provisioning/invitation.txt.j2").render(words),
        html=_templates.get_template("firms/provisioning/invitation.html.j2").render(words),
        firm_id=firm_id,
        invitation_id=invitation_id,
    )
