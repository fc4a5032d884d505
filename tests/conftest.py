"""The real peers that every integration test stands on: PostgreSQL, S3 and SMTP, one of each per session."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import application
from sandbox.services.postgres import PostgresServer
from sandbox.services.s3 import S3Server
from sandbox.services.smtp import SmtpServer
from sandbox.stripe_api import StripeSandbox
from tests import (
    airflow_environment,  # noqa: F401 - before anything imports Airflow
    workers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdist.remote import Producer

    from sandbox.application import ApplicationDatabase

PASSWORDS = {role: secrets.token_urlsafe(16) for role in application.ROLES}
TEMPLATE = "app_template"
MEMORY = Path("/dev/shm")
ENOUGH_MEMORY = 4 * 2**30
PREFIX = "cp_ops-tests-"
_numbers = itertools.count(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Answer what `--numprocesses=auto` means."""
    return workers.how_many(config)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> workers.Units | None:
    """Share the tests out, unless --dist says how."""
    return workers.Units(config, log) if config.getoption("dist") == "load" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put last what must run alone."""
    items.sort(key=lambda item: item.nodeid in workers.ALONE)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Run a test when it is its turn; the wait is outside of its timeout."""
    with workers.turn(item.nodeid):
        return (yield)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One PostgreSQL cluster for the session, with the application's roles and no application database."""
    server = PostgresServer(in_memory() or tmp_path_factory.mktemp("postgres"), dies_with_parent=True)
    server.start()
    try:
        application.create_roles(server, PASSWORDS)
        yield server
    finally:
        server.remove()


def in_memory() -> Path | None:
    """Make a directory in memory, or None where there is little: every test makes and drops a database of 1,200 files.

    ext4 looks past every inode that was deleted in the last minute when it makes a file, so that a second of each test
    went by in the kernel. What a killed session left behind is removed here.
    """
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ENOUGH_MEMORY:
        return None
    for left in MEMORY.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # another worker removes it, too
            if (
                left.stat().st_uid == os.geteuid()
                and not Path(f"/proc/{left.name.removeprefix(PREFIX)}").exists()
            ):
                shutil.rmtree(left, ignore_errors=True)
    directory = MEMORY / f"{PREFIX}{os.getpid()}"
    directory.mkdir()
    directory.chmod(0o755)  # the account that PostgreSQL runs as must pass
    return directory


@pytest.fixture(scope="session")
def app_template(postgres: PostgresServer) -> str:
    """Name of a template database with the application's tables and schema cp_ops, without rows."""
    application.create_application_database(postgres, TEMPLATE, PASSWORDS)
    return TEMPLATE


@pytest.fixture
def app_db(postgres: PostgresServer, app_template: str) -> Iterator[ApplicationDatabase]:
    """A fresh application database of this test's own: .name, .owner_dsn, .cp_ops_dsn, .rls_dsn."""
    name = f"app_{os.getpid()}_{next(_numbers)}"
    yield application.create_application_database(postgres, name, PASSWORDS, template=app_template)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 endpoint for the session."""
    server = S3Server(tmp_path_factory.mktemp("s3"), dies_with_parent=True)
    with server:
        yield server


@dataclass(frozen=True)
class Bucket:
    """An S3 bucket of one test's own; `client` is a boto3 client of the endpoint."""

    name: str
    endpoint_url: str
    client: object


@pytest.fixture
def s3(s3_server: S3Server) -> Iterator[Bucket]:
    """A fresh bucket: .name, .endpoint_url, .client."""
    client = s3_server.client()
    name = f"test-{os.getpid()}-{next(_numbers)}"
    client.create_bucket(Bucket=name)
    yield Bucket(name, s3_server.endpoint_url, client)
    s3_server.delete_bucket(name)


@pytest.fixture(scope="session")
def smtp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmtpServer]:
    """One SMTP server for the session; take `smtp` for one with an empty mailbox."""
    server = SmtpServer(tmp_path_factory.mktemp("smtp"), dies_with_parent=True)
    with server:
        yield server


@pytest.fixture
def smtp(smtp_server: SmtpServer) -> SmtpServer:
    """The SMTP server with an empty mailbox: .host, .port, .mails(), .clear()."""
    smtp_server.clear()
    return smtp_server


@pytest.fixture(scope="session")
def stripe_server() -> Iterator[StripeSandbox]:
    """One local Stripe for the session; take `stripe` for one with an empty account."""
    with StripeSandbox() as server:
        yield server


@pytest.fixture
def stripe(stripe_server: StripeSandbox) -> StripeSandbox:
    """The local Stripe as a new account: .client(), .seed(), .ledger, .faults, .clock, .calls."""
    stripe_server.reset()
    stripe_server.settings.rate_limit = None
    return stripe_server


@pytest.fixture
def listener() -> Iterator[HTTPServer]:
    """An HTTP server that keeps what is posted in `.received` (headers, body); `.status` is its next answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.received.append((dict(self.headers), body))
            self.send_response(server.status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server: Any = HTTPServer(("127.0.0.1", 0), Handler)
    server.received, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
