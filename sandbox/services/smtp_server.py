"""The SMTP server's process: `python -m sandbox.services.smtp_server HOST PORT MAILBOX`.

Every accepted mail becomes `NNNNNN.eml` (the bytes as they came) and `NNNNNN.json` (its envelope). The local part
of a recipient chooses a failure:

    reject-550*   550 at RCPT, a permanent refusal of this recipient
    defer-451*    451 at RCPT, a temporary refusal of this recipient
    drop*         the connection is cut at RCPT
    lost*         the mail is accepted and kept, but the connection is cut before the answer: the sender cannot know
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope, Session

_SIZE_LIMIT = 32 * 1024 * 1024


class Mailbox:
    """aiosmtpd's handler: refuses as the recipient asks, keeps everything else."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._number = max((int(path.stem) for path in directory.glob("*.eml")), default=0)

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self,
        server: SMTP,
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """Answer RCPT TO."""
        local_part = address.partition("@")[0].lower()
        if local_part.startswith("reject-550"):
            return "550 5.1.1 no such mailbox"
        if local_part.startswith("defer-451"):
            return "451 4.7.1 try again later"
        if local_part.startswith("drop"):
            _cut(server)
            return "421 4.3.0 connection cut"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        """Keep the mail; the .eml file appears last and whole."""
        self._number += 1
        stem = self.directory / f"{self._number:06d}"
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        facts = {"mail_from": envelope.mail_from, "recipients": envelope.rcpt_tos, "received_at": time.time()}
        stem.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
        draft = stem.with_suffix(".new")
        draft.write_bytes(content)
        draft.replace(stem.with_suffix(".eml"))
        if any(recipient.lower().startswith("lost") for recipient in envelope.rcpt_tos):
            _cut(server)
        return f"250 2.0.0 kept as {stem.name}"


def _cut(server: SMTP) -> None:
    if isinstance(server.transport, asyncio.WriteTransport):
        server.transport.abort()


async def serve(host: str, port: int, mailbox: Path) -> None:
    """Serve until SIGTERM or SIGINT."""
    handler = Mailbox(mailbox)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(
        lambda: SMTP(
            handler,
            hostname="sandbox.consultantpro.example",
            enable_SMTPUTF8=True,
            data_size_limit=_SIZE_LIMIT,
        ),
        host,
        port,
    )
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
