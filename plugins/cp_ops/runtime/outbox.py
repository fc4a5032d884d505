"""The mail outbox. The decision to mail and the mail's row commit together, and `cp_ops_deliver_mail` sends it later.

`deliveries.py` decides how a delivery is claimed, how often it is tried and when it is given up.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cp_ops.runtime.database import Transaction

INVITATION_TOKEN = "{invitation_token}"  # noqa: S105 - the place of a token, not one
"""What a mail's text has where delivery puts the token of the mail's invitation."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to one recipient. (kind, subject_key, step, recipient) is its business key: it is never sent twice.

    :param kind: what the mail is, such as ``stale_deal_digest``.
    :param subject_key: what it is about, such as ``firm:7:2026-11-21``; no personal data.
    :param step: which of a series it is, such as ``first``.
    :param title: the Subject line.
    :param invitation_id: the invitation whose link belongs in the place of ``{invitation_token}`` in text and html: the
        token is made when the mail is handed over, so that no table ever holds it.
    :param attachments: files as ``{"name", "type", "content"}`` with base64 content.
    """

    kind: str
    subject_key: str
    step: str
    recipient: str
    title: str
    text: str
    html: str = ""
    firm_id: int | None = None
    attachments: Sequence[Mapping[str, str]] = field(default_factory=tuple)
    invitation_id: int | None = None


def enqueue(tx: Transaction, mails: Sequence[Mail], *, run_id: int, sender: str) -> int:
    """Put mails into the outbox, in the caller's transaction; gives how many are new.

    :param sender: the From address, setting `default_from_email`.
    """
    if not mails:
        return 0
    # One statement for all of them, an array per column: a job may decide on thousands of mails at once.
    columns: dict[str, list[Any]] = {
        "firm_ids": [mail.firm_id for mail in mails],
        "kinds": [mail.kind for mail in mails],
        "subject_keys": [mail.subject_key for mail in mails],
        "steps": [mail.step for mail in mails],
        "recipients": [mail.recipient for mail in mails],
        "recipient_keys": [recipient_key(mail.recipient) for mail in mails],
        "titles": [mail.title for mail in mails],
        "texts": [mail.text for mail in mails],
        "htmls": [mail.html for mail in mails],
        "attachments": [Jsonb([dict(part) for part in mail.attachments]) for mail in mails],
        "invitation_ids": [mail.invitation_id for mail in mails],
    }
    return tx.execute("runtime/enqueue_mails", run_id=run_id, sender=sender, **columns)


def recipient_key(address: str) -> str:
    """Give the stable, pseudonymous key of an address."""
    return hashlib.sha256(address.strip().lower().encode()).hexdigest()
