"""The message that is made of an outbox row."""

from __future__ import annotations

import base64
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


def check_sender(sender: str) -> None:
    """Refuse a sender that no mail can be made with, before it is taken for a fault of every row.

    :raises SettingError: when it is not one address.
    """
    message = EmailMessage()
    try:
        message["From"] = sender
        addresses = message["From"].addresses
    except (ValueError, LookupError):
        addresses = ()
    if sender and [bool(address.username) for address in addresses] != [True]:
        raise SettingError("default_from_email", "is not one mail address")


def compose(mail: Mapping[str, Any], now: datetime, *, sender: str = "") -> EmailMessage:
    """Build the message of an outbox row; the same row always gets the same Message-ID.

    :param sender: the From address as it is set now, which may correct the one that was set at the mail's decision.
    """
    message = EmailMessage()
    # The sender of the decision, not of today: a setting that is corrected must not change the Message-ID.
    domain = mail["sender"].rsplit("@", 1)[-1].rstrip("> ") or "localhost"
    message["Message-ID"] = f"<cp-ops-{mail['id']}.{mail['created_at']:%Y%m%d%H%M%S}@{domain}>"
    message["Date"] = format_datetime(now)
    message["From"] = sender or mail["sender"]
    message["To"] = mail["recipient"]
    message["Subject"] = " ".join(mail["title"].split())
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail["body_text"])
    if mail["body_html"]:
        message.add_alternative(mail["body_html"], subtype="html")
    for part in mail["attachments"]:
        kind, _, subtype = part["type"].partition("/")
        message.add_attachment(
            base64.b64decode(part["content"]), maintype=kind, subtype=subtype, filename=part["name"]
        )
    return message
