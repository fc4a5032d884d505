"""What delivery needs of a mail server, and the two answers that concern every mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cp_ops.runtime.errors import RemoteRefusedError, RemoteUnavailableError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from email.message import EmailMessage


class MailingRefusedError(RemoteRefusedError):
    """The mail server takes no mail from us: the connection or the sender is wrong, not the mail."""


class MailingDeferredError(RemoteUnavailableError):
    """The mail server takes no mail from us now, whoever it is for."""


class MailConnection(Protocol):
    """An open connection to a mail server."""

    def send(self, message: EmailMessage, recipient: str) -> None:
        """Hand over one mail.

        :raises MailingRefusedError: the server takes no mail from us, until a setting is corrected.
        :raises MailingDeferredError: the server takes no mail from us for now.
        :raises RemoteRefusedError: the server will never accept this one (5xx).
        :raises RemoteConnectionLostError: the connection is gone.
        :raises RemoteUnavailableError: not this one now (4xx).
        """


class MailServer(Protocol):
    """Where mails are handed over."""

    def connect(self) -> AbstractContextManager[MailConnection]:
        """Open a connection for one batch."""
