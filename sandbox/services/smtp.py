"""SMTP: an aiosmtpd server that keeps every mail that it accepts, and refuses on demand."""

from __future__ import annotations

import json
import smtplib
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from sandbox.service import ProcessService

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage
    from pathlib import Path

DEFAULT_FROM = "ConsultantPro <no-reply@consultantpro.example>"


@dataclass(frozen=True)
class Mail:
    """One accepted mail: its envelope, when it came (UTC) and the bytes as they came."""

    number: int
    mail_from: str
    recipients: tuple[str, ...]
    received_at: datetime
    path: Path

    @property
    def message(self) -> EmailMessage:
        """The parsed mail."""
        return message_from_bytes(self.path.read_bytes(), policy=policy.default)


class SmtpServer(ProcessService):
    """An SMTP server without TLS and log-in; `sandbox/services/smtp_server.py` says how to make it refuse."""

    name: ClassVar[str] = "smtp"

    @property
    def mailbox(self) -> Path:
        """The directory of the accepted mails, one .eml file each."""
        return self.directory / "mails"

    @override
    def command(self, port: int) -> Sequence[str]:
        return (sys.executable, "-m", "sandbox.services.smtp_server", self.host, str(port), str(self.mailbox))

    @override
    def healthy(self) -> bool:
        try:
            with smtplib.SMTP(self.host, self.port, timeout=2) as client:
                return client.noop()[0] == 250
        except (OSError, smtplib.SMTPException):
            return False

    def mails(self) -> list[Mail]:
        """Return the accepted mails in the order in which they came."""
        mails = []
        for path in sorted(self.mailbox.glob("*.eml")):
            envelope = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            mails.append(
                Mail(
                    number=int(path.stem),
                    mail_from=envelope["mail_from"],
                    recipients=tuple(envelope["recipients"]),
                    received_at=datetime.fromtimestamp(envelope["received_at"], UTC),
                    path=path,
                )
            )
        return mails

    def clear(self) -> None:
        """Throw the accepted mails away."""
        for path in self.mailbox.glob("*.eml"):
            path.unlink()
            path.with_suffix(".json").unlink(missing_ok=True)

    def connection(self) -> dict[str, object]:
        """Return Airflow's connection to this server, as its JSON form."""
        return {
            "conn_type": "smtp",
            "host": self.host,
            "port": self.port,
            "extra": {
                "from_email": DEFAULT_FROM,
                "disable_tls": True,
                "disable_ssl": True,
                "timeout": 10,
                "retry_limit": 0,
            },
        }

    @override
    def environment(self) -> dict[str, str]:
        return {"AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(self.connection())}
