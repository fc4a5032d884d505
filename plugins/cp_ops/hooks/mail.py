"""The mail server, through the provider's SMTP hook and connection."""

from __future__ import annotations

import smtplib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.sdk.exceptions import AirflowException

from cp_ops.mail.delivery.server import MailingDeferredError, MailingRefusedError
from cp_ops.runtime.errors import (
    ConnectionInvalidError,
    ConnectionMissingError,
    RemoteConnectionLostError,
    RemoteRefusedError,
    RemoteUnavailableError,
    translate,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage

PERMANENT = 500
"""SMTP replies from here on are final (RFC 5321, 4.2.1)."""
OF_THE_SESSION = frozenset({530, 534, 535, 538})
"""Replies that ask for another log-in or for TLS, at whatever step: they concern every mail (RFC 4954, 6; RFC 3207, 4)."""
TOO_LARGE = 552
"""The one reply to MAIL FROM that concerns its mail, whose size is named there (RFC 1870, 6.1)."""


class SmtpServer:
    """Hand mails over, one recipient each, several on one connection.

    The provider's own `send_email_smtp` is not used: it retries a permanent refusal, reports none when one of several
    recipients is refused, and builds mails without a text part.
    """

    def __init__(self, conn_id: str = "smtp_default") -> None:
        self._conn_id = conn_id

    @contextmanager
    def connect(self) -> Iterator[_SmtpConnection]:
        """Open a connection for one batch.

        :raises ConnectionMissingError: when the connection is not defined, or cannot be read.
        :raises RemoteUnavailableError: when the server cannot be reached.
        :raises MailingRefusedError: when it refuses the credentials.
        """
        hook = SmtpHook(smtp_conn_id=self._conn_id)
        try:
            hook.get_conn()
        except smtplib.SMTPAuthenticationError as error:
            raise _stop(self._conn_id, "the log-in", error.smtp_code) from None
        except (OSError, smtplib.SMTPException) as error:
            raise translate(error, doing=f"connection {self._conn_id}") from None
        except AirflowException as error:
            # The provider raises one class for a missing connection and for a server that does not answer.
            if "not found" in str(error):
                raise ConnectionMissingError(self._conn_id, "its host is the mail server") from None
            raise RemoteUnavailableError(f"connection {self._conn_id}: mail server not reachable") from None
        client = hook._smtp_client  # noqa: SLF001 - the hook's public way to send is unfit, see above
        if not isinstance(client, smtplib.SMTP):
            raise ConnectionInvalidError(f"Airflow connection {self._conn_id!r} gave no SMTP client")
        try:
            yield _SmtpConnection(client, self._conn_id)
        finally:
            try:
                client.quit()
            except (OSError, smtplib.SMTPException):
                client.close()


class _SmtpConnection:
    def __init__(self, client: smtplib.SMTP, conn_id: str) -> None:
        self._client = client
        self._conn_id = conn_id

    def send(self, message: EmailMessage, recipient: str) -> None:
        """Hand over one mail; errors name the server's reply code, not the address.

        A refused sender or session is refused for every mail alike; what is refused of recipient or content is that mail's.
        """
        try:
            self._client.send_message(message, to_addrs=[recipient])
        except smtplib.SMTPRecipientsRefused as error:
            code = next(iter(error.recipients.values()))[0]
            raise self._refusal("RCPT TO", code, "recipient refused") from None
        except smtplib.SMTPSenderRefused as error:
            # The sender is the same in every mail, so a refusal of it concerns all of them, except of a mail's size.
            if error.smtp_code != TOO_LARGE:
                raise _stop(self._conn_id, "MAIL FROM", error.smtp_code) from None
            raise self._refusal("MAIL FROM", TOO_LARGE, "mail refused") from None
        except smtplib.SMTPResponseException as error:
            raise self._refusal("DATA", error.smtp_code, "mail refused") from None
        except smtplib.SMTPNotSupportedError:
            if recipient.isascii():
                raise MailingRefusedError(
                    f"connection {self._conn_id}: the mail server does not take a sender address with characters"
                    " outside ASCII: correct [cp_ops] default_from_email"
                ) from None
            raise RemoteRefusedError(
                "recipient refused: the mail server does not take addresses with characters outside ASCII"
            ) from None
        except UnicodeError:
            raise RemoteRefusedError(
                "recipient refused: the address is not one that mail can be sent to"
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            raise RemoteConnectionLostError(
                f"mail server closed the connection ({type(error).__name__})"
            ) from None

    def _refusal(self, step: str, code: int, what: str) -> Exception:
        if code in OF_THE_SESSION:
            return _stop(self._conn_id, step, code)
        kind = RemoteRefusedError if code >= PERMANENT else RemoteUnavailableError
        return kind(f"{what} by the mail server with code {code}")


def _stop(conn_id: str, step: str, code: int) -> Exception:
    answer = f"connection {conn_id}: the mail server answers {step} with code {code}"
    if code < PERMANENT:
        return MailingDeferredError(answer)
    return MailingRefusedError(
        f"{answer}: check its login and TLS settings, and that it may send as [cp_ops] default_from_email;"
        " every mail stays due"
    )
