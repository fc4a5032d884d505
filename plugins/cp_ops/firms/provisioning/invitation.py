"""The mail that invites a firm's administrator to choose a password."""

from __future__ import annotations

from cp_ops.runtime.mail_templates import render
from cp_ops.runtime.outbox import INVITATION_TOKEN, Mail

KIND = "firm_invitation"
PATH = "/accept-invitation/"
"""The application's page, below setting frontend_url. It calls `cp_ops.redeem_invitation(token)`."""


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
        text=render("firms/provisioning/invitation.txt.j2", **words),
        html=render("firms/provisioning/invitation.html.j2", **words),
        firm_id=firm_id,
        invitation_id=invitation_id,
    )
